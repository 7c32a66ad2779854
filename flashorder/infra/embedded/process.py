"""One server process: started bound to us, watched, stopped within a bound.

The server gets a session of its own, so that Ctrl-C in the terminal reaches us first and we stop
it in order; and a parent death signal, so that it ends when we are killed. The kernel ties that
signal to the *thread* that started it: start servers from a thread that lives as long as they
should.

A server that a former launcher left behind (it was killed, and the server is still writing its
last pages) is replaced, never adopted: a child of ours has our settings and our death signal, and
one way to start is one way to test.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from flashorder.infra.embedded.errors import ServerStartFailed
from flashorder.infra.embedded.run_as import RunAs, shim_command

PROBE_INTERVAL_SECONDS = 0.01
LOG_TAIL_BYTES = 4096
LOG_TAIL_LINES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerCommand:
    """What to run, and how to ask it to stop.

    ``folder`` is the working directory, and the mark by which a leftover is found again.
    ``way_out`` is what a person is told below the server's last words when it does not start.
    ``environment`` holds defaults: what ours says of the same variable goes before.
    """

    name: str
    argv: tuple[str, ...]
    folder: Path
    log_file: Path
    stop_signal: signal.Signals
    run_as: RunAs = RunAs.SELF
    pid_file: Path | None = None
    way_out: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)


class ServerProcess:
    """A running server, a child of this process."""

    def __init__(self, command: ServerCommand, process: asyncio.subprocess.Process) -> None:
        self.command = command
        self.pid = process.pid
        self._exit = asyncio.create_task(process.wait(), name=f"exit of {command.name}")
        self._log_start = command.log_file.stat().st_size

    @classmethod
    async def spawn(cls, command: ServerCommand) -> ServerProcess:
        """Start the server; it is not ready yet."""
        shim = shim_command(
            command.run_as,
            command.argv,
            command.folder,
            pid_file=command.pid_file,
            death_signal=command.stop_signal,
        )
        with command.log_file.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *shim,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**command.environment, **server_environment(os.environ)},
            )
        return cls(command, process)

    @property
    def running(self) -> bool:
        """Whether the server has not ended yet."""
        return not self._exit.done()

    async def wait(self) -> int:
        """Exit code, once the server has ended; negative for a signal."""
        return await asyncio.shield(self._exit)

    async def become_ready(
        self, answers: Callable[[], Awaitable[bool]], timeout_seconds: float
    ) -> None:
        """Ask ``answers`` again and again until it holds.

        A server announces itself by answering, so asking is the only signal there is. Raises
        ``ServerStartFailed`` when it ends before, or has not answered within the time.
        """
        try:
            async with asyncio.timeout(timeout_seconds):
                while not await answers():
                    ended, _ = await asyncio.wait({self._exit}, timeout=PROBE_INTERVAL_SECONDS)
                    if ended:
                        raise self.start_failure(f"it ended with exit code {self._exit.result()}")
        except TimeoutError as error:
            raise self.start_failure(f"no answer within {timeout_seconds:g} s") from error

    def start_failure(self, reason: str) -> ServerStartFailed:
        """The error for this start, with what the server said in its log."""
        return ServerStartFailed(
            self.command.name,
            reason,
            self.command.log_file,
            self.log_of_this_start(),
            self.command.way_out,
        )

    def log_of_this_start(self) -> str:
        """The last lines that this very process has written."""
        with self.command.log_file.open("rb") as log:
            end = log.seek(0, os.SEEK_END)
            log.seek(max(self._log_start, end - LOG_TAIL_BYTES))
            lines = log.read().decode(errors="replace").splitlines()
        return "\n".join(lines[-LOG_TAIL_LINES:])

    async def stop(self, timeout_seconds: float) -> None:
        """Ask for an orderly stop, and end the server when the time is over. Idempotent.

        A cancelled stop ends it at once: nobody would come back to it.
        """
        try:
            self._signal(self.command.stop_signal)
            await asyncio.wait({self._exit}, timeout=timeout_seconds)
        finally:
            self._signal(signal.SIGKILL)
        await self._exit
        if self.command.pid_file is not None:
            self.command.pid_file.unlink(missing_ok=True)

    async def kill(self) -> None:
        """End the server at once, as a crash would."""
        await self.stop(0)

    def _signal(self, number: signal.Signals) -> None:
        # Not after the exit was seen: the pid may be another process by then.
        if self.running:
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                return


def server_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment for a server: ours, without what would steer PostgreSQL past our settings."""
    kept = {name: value for name, value in environment.items() if not name.startswith("PG")}
    return kept | {"LC_ALL": "C"}
