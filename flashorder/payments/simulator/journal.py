"""An append-only file of JSON lines that survives ``kill -9`` at any byte.

Whatever is appended while one fsync runs shares the next. A line that a crash cut short is dropped
at the next start: nobody was told of it.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from pathlib import Path
from typing import Any

import msgspec

from flashorder.kernel.errors import Misconfigured


class Journal:
    """One writer a file (held by a lock); ``run`` must be awaited by its owner while it is used."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = -1
        self._lines: list[bytes] = []
        self._waiters: list[asyncio.Future[None]] = []
        self._work = asyncio.Event()
        self._closing = False
        self._failure: OSError | None = None

    def open(self) -> list[bytes]:
        """Lock the file and return its whole lines. Raises ``Misconfigured`` if it is in use."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._descriptor)
            raise Misconfigured(f"{self.path} is in use by another simulator") from None
        content = self.path.read_bytes()
        whole = content.rfind(b"\n") + 1
        os.ftruncate(self._descriptor, whole)
        return content[:whole].splitlines()

    def append(self, record: Any) -> None:
        """Have ``record`` written; it is durable once ``durable`` has returned."""
        self._lines.append(msgspec.json.encode(record) + b"\n")
        self._work.set()

    async def durable(self) -> None:
        """Wait until everything appended so far is on disk; raises OSError if it never will be."""
        if self._failure is not None:
            raise self._failure
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self._work.set()
        await waiter

    async def run(self) -> None:
        """Write until ``close`` is called and everything is written; raises what the disk says."""
        try:
            while not (self._closing and not self._lines and not self._waiters):
                await self._work.wait()
                self._work.clear()
                lines, self._lines = self._lines, []
                waiters, self._waiters = self._waiters, []
                try:
                    if lines:
                        await asyncio.to_thread(self._write, b"".join(lines))
                except OSError as error:
                    self._failure = error
                    _settle(waiters + self._waiters, error)
                    raise
                _settle(waiters, None)
        finally:
            os.close(self._descriptor)

    def close(self) -> None:
        """Let ``run`` return once everything is written."""
        self._closing = True
        self._work.set()

    def _write(self, content: bytes) -> None:
        view = memoryview(content)
        while view:
            view = view[os.write(self._descriptor, view) :]
        os.fsync(self._descriptor)


def _settle(waiters: list[asyncio.Future[None]], failure: OSError | None) -> None:
    for waiter in waiters:
        if waiter.done():  # the caller has left
            continue
        if failure is None:
            waiter.set_result(None)
        else:
            waiter.set_exception(failure)
