"""What a role writes: every line to a bounded file, what matters to the terminal with its name."""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from pathlib import Path
from typing import Any, TextIO

import msgspec

FILE_BYTES_MAX = 8 * 2**20
LINE_BYTES_MAX = 64 * 2**10
TAIL_LINES = 20
_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
_COLOURS = {30: "\033[33m", 40: "\033[31m", 50: "\033[31m"}
_NOT_SHOWN = frozenset({"event", "level", "timestamp", "logger", "role", "worker"})


class Console:
    """The terminal that all roles share; ``level`` and above are shown, and what is no JSON."""

    def __init__(self, level: str = "warning", stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._level = _LEVELS[level]
        self._coloured = self._stream.isatty()

    def say(self, who: str, text: str, level: int = 30) -> None:
        """One line of ``who``; a terminal that went away is no reason to stop."""
        colour = _COLOURS.get(level, "") if self._coloured else ""
        end = "\033[0m" if colour else ""
        try:
            self._stream.write(f"{who:<18}│ {colour}{text}{end}\n")
            self._stream.flush()
        except (OSError, ValueError):
            return

    def show(self, who: str, line: str) -> None:
        """One line that a role wrote."""
        record = _record(line)
        if record is None:
            self.say(who, line)
            return
        level = _LEVELS.get(str(record.get("level", "info")).lower(), 20)
        if level >= self._level:
            rest = (f"{name}={value}" for name, value in record.items() if name not in _NOT_SHOWN)
            self.say(who, " ".join((str(record.get("event", "")), *rest)), level)


class RoleLog:
    """``<folder>/<name>.log``, of which one predecessor is kept; the last lines in memory."""

    def __init__(self, folder: Path, name: str, console: Console) -> None:
        self.path = folder / f"{name}.log"
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._name = name
        self._console = console

    async def follow(self, stream: asyncio.StreamReader) -> None:
        """Take lines until the role closes its end."""
        while True:
            try:
                line = await stream.readuntil(b"\n")
            except asyncio.IncompleteReadError as end:
                if end.partial:
                    self.write(end.partial)
                return
            except asyncio.LimitOverrunError as overrun:
                line = await stream.readexactly(overrun.consumed)
            self.write(line)

    def write(self, line: bytes) -> None:
        """Keep one line. A full disk must not take the roles down."""
        text = line.decode(errors="replace").rstrip("\n")
        self.tail.append(text)
        self._console.show(self._name, text)
        try:
            with self.path.open("ab") as file:
                file.write(line if line.endswith(b"\n") else line + b"\n")
                full = file.tell() > FILE_BYTES_MAX
            if full:
                self.path.replace(self.path.with_suffix(".log.1"))
        except OSError:
            return


def _record(line: str) -> dict[str, Any] | None:
    if not line.startswith("{"):
        return None
    try:
        record = msgspec.json.decode(line)
    except msgspec.DecodeError:
        return None
    return record if isinstance(record, dict) else None
