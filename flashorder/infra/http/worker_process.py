"""One web worker as its parent sees it: a process that says when it serves, and when it goes.

The two words are the whole protocol, so that a parent and the worker of a newer version understand
one another.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Final

import structlog

log = structlog.get_logger(__name__)

UP: Final = b"up\n"
LEAVING: Final = b"leaving\n"
STANDARD_OUTPUT: Final = 1


def tell_parent(word: bytes) -> None:
    """Say ``UP`` or ``LEAVING``, from the worker; a parent that has gone need not hear it."""
    with suppress(OSError):
        os.write(STANDARD_OUTPUT, word)


class WorkerProcess:
    """A worker that was started; whoever started it stops it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.up = False
        """Whether it has served."""

    @classmethod
    async def start(
        cls, argv: Sequence[str], environment: Mapping[str, str], descriptors: Collection[int]
    ) -> WorkerProcess:
        """Start one, with ``descriptors`` open under the same numbers."""
        process = await asyncio.create_subprocess_exec(
            *argv,
            env={**os.environ, **environment},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            pass_fds=tuple(descriptors),
        )
        return cls(process)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative: the signal that ended it."""
        return self._process.returncode

    async def until_up(self) -> None:
        """Wait until it serves, or has ended; ``up`` says which."""
        self.up = await self._says(UP)
        if not self.up:
            await self._process.wait()

    async def until_leaving(self) -> bool:
        """Wait until it begins to drain (True), or has ended without a word."""
        if await self._says(LEAVING):
            return True
        await self._process.wait()
        return False

    async def ended(self) -> None:
        """Wait for its end."""
        await self._process.wait()

    async def stop(self, within_seconds: float) -> None:
        """Have it drain, and end it where that takes longer; idempotent."""
        if self.exit_code is None:
            self._signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(within_seconds):
                    await self._process.wait()
            except TimeoutError:
                log.error("worker_killed", pid=self.pid)
            finally:
                self._signal(signal.SIGKILL)
        await self._process.wait()

    async def _says(self, word: bytes) -> bool:
        assert self._process.stdout is not None, "it was asked for"
        async for line in self._process.stdout:
            if line == word:
                return True
        return False

    def _signal(self, number: signal.Signals) -> None:
        # Popen's own send_signal looks whether the child has ended, and so takes its exit code away
        # from asyncio, which then reports 255 (python/cpython issue 87744).
        if self.exit_code is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)
