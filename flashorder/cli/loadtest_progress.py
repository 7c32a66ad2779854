"""How a load test goes: one line that changes on a terminal, else a line every few seconds."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TextIO

TELL_SECONDS = 5.0
"""Between lines where nobody can see one change."""


class Progress:
    """``opens_at`` is Unix time; ``samples`` is the file that Locust's run appends to."""

    def __init__(
        self,
        samples: Path,
        opens_at: float,
        stream: TextIO,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._samples = samples
        self._opens_at = opens_at
        self._stream = stream
        self._clock = clock
        self._tell_at = 0.0

    def tell(self) -> None:
        """Say how it goes, if it is time to."""
        if self._stream.isatty():
            say(self._stream, self._words(), end="")
        elif self._clock() >= self._tell_at:
            self._tell_at = self._clock() + TELL_SECONDS
            say(self._stream, self._words())

    def _words(self) -> str:
        last = _last_sample(self._samples)
        if last is None:
            return "waiting for the first visitors"
        since = last["at"] - self._opens_at
        return (
            f"{since:+.0f} s  {last['users']} visitors  {last['per_second']:.0f}/s  "
            f"p95 {last['p95_ms'] or 0:.0f} ms  {last['requests']} answers, "
            f"{last['failures']} failed  {last['remaining']} units left"
        )


def say(stream: TextIO, text: str, end: str = "\n") -> None:
    """A line, in place of one that is to change where there is one."""
    lead = "\r\033[K" if stream.isatty() else ""
    stream.write(f"{lead}{text}{end}")
    stream.flush()


def _last_sample(path: Path) -> Mapping[str, Any] | None:
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - 4096))
            lines = [line for line in file.read().splitlines() if line.endswith(b"}")]
        sample: Mapping[str, Any] = json.loads(lines[-1])
    except (OSError, ValueError, IndexError):
        return None
    return sample
