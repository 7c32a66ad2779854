"""One role of the service as a child process that is started again when it dies.

The child has a session of its own, so Ctrl-C in the terminal reaches the supervisor alone, which
then stops the roles in order; and the parent's death signal, so that none outlives a killed
supervisor (see ``flashorder.infra.embedded.launch_shim``).
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from flashorder.infra.embedded.run_as import RunAs, shim_command
from flashorder.infra.supervision.role_log import LINE_BYTES_MAX, Console, RoleLog
from flashorder.kernel.errors import FlashorderError

BACKOFF_SECONDS_MIN = 0.1
BACKOFF_SECONDS_MAX = 5.0
# A role that ran so long is not in a loop of failing starts.
STEADY_SECONDS = 10.0
# How long what a dead role has started may hold on to its output, before it is killed as well.
ORPHANS_SECONDS_MAX = 5.0
HEAD_POLL_SECONDS = 0.5
# A role that fails so often before it was ever useful will not mend itself.
START_FAILURES_MAX = 3


class RoleFailed(FlashorderError):
    """A role ends as soon as it is started."""

    default_code = "role_failed"


@dataclass(frozen=True, slots=True)
class RoleCommand:
    """``environment`` is added to our own; ``name`` is unique among the roles."""

    name: str
    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    folder: Path = field(default_factory=Path.cwd)
    stop_timeout_seconds: float = 15.0


class SupervisedRole:
    """Keeps one role running between ``start`` and ``stop``; both may be called once.

    ``changed`` is called whenever the pid has changed. ``failed`` is set when the role ended
    ``START_FAILURES_MAX`` times before ``proven`` was called; it is then given up.
    """

    def __init__(
        self,
        command: RoleCommand,
        log: RoleLog,
        console: Console,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self.command = command
        self.pid: int | None = None
        self.restarts = 0
        self.failed = asyncio.Event()
        self._log = log
        self._console = console
        self._changed = changed
        self._stopping = asyncio.Event()
        self._proven = False
        self._hurried = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin; the role is not ready yet."""
        assert self._task is None, "a role is started once"
        self._task = asyncio.create_task(self._keep_running(), name=f"role:{self.command.name}")

    def proven(self) -> None:
        """The role has been seen to work: from now on it is started again however often."""
        self._proven = True

    async def stop(self) -> None:
        """Ask it to end, insist when the time is over, and return once it has. Idempotent."""
        self._stopping.set()
        self._signal(signal.SIGTERM)
        if self._task is None:
            return
        _, late = await asyncio.wait({self._task}, timeout=self.command.stop_timeout_seconds)
        if late:
            if not self._hurried:
                self._console.say(self.command.name, "does not end in time: killed")
            self._signal(signal.SIGKILL)
        await self._task

    def hurry(self) -> None:
        """End it at once."""
        self._hurried = True
        self._stopping.set()
        self._signal(signal.SIGKILL)

    def failure(self) -> RoleFailed:
        """Why it was given up, with its last words."""
        words = "\n".join(self._log.tail)
        return RoleFailed(
            f"{self.command.name} does not start. Last lines of {self._log.path}:\n{words}"
        )

    async def _keep_running(self) -> None:
        loop = asyncio.get_running_loop()
        failures = 0
        while not self._stopping.is_set():
            started_at = loop.time()
            code = await self._run_once()
            if self._stopping.is_set():
                return
            failures = 1 if loop.time() - started_at > STEADY_SECONDS else failures + 1
            if not self._proven and failures >= START_FAILURES_MAX:
                self.failed.set()
                return
            pause_seconds = min(BACKOFF_SECONDS_MAX, BACKOFF_SECONDS_MIN * 2 ** (failures - 1))
            pause_seconds *= random.uniform(0.8, 1.2)
            self._console.say(
                self.command.name, f"{_ending(code)}; started again in {pause_seconds:.1f} s"
            )
            self.restarts += 1
            try:
                await asyncio.wait_for(self._stopping.wait(), pause_seconds)
            except TimeoutError:
                continue

    async def _run_once(self) -> int:
        process = await asyncio.create_subprocess_exec(
            *shim_command(
                RunAs.SELF, self.command.argv, self.command.folder, death_signal=signal.SIGTERM
            ),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, **self.command.environment},
            limit=LINE_BYTES_MAX,
        )
        assert process.stdout is not None, "stdout was asked for as a pipe"
        self.pid = process.pid
        self._changed()
        if self._stopping.is_set():  # stop came between the decision to start and the pid
            self._signal(signal.SIGKILL if self._hurried else signal.SIGTERM)
        try:
            async with asyncio.TaskGroup() as group:
                following = group.create_task(self._log.follow(process.stdout))
                ending = group.create_task(process.wait())
                # With asyncio's own loop the wait also is for the output's end.
                while process.returncode is None:
                    await asyncio.wait({ending}, timeout=HEAD_POLL_SECONDS)
                await self._leave_nobody(process.pid, following)
                ending.cancel()
            return process.returncode
        except asyncio.CancelledError:
            self._signal(signal.SIGKILL)
            raise
        finally:
            self.pid = None

    async def _leave_nobody(self, head: int, following: asyncio.Task[None]) -> None:
        """End what the role has started and has not ended with it: the next life does not wait.

        Whoever holds the output is of the role's session, or of nobody that is known here.
        """
        await asyncio.wait({following}, timeout=ORPHANS_SECONDS_MAX)
        if not following.done():
            self._console.say(self.command.name, "left processes that do not end: killed")
            with suppress(ProcessLookupError):
                os.killpg(head, signal.SIGKILL)
            await asyncio.wait({following}, timeout=HEAD_POLL_SECONDS)
            following.cancel()

    def _signal(self, number: signal.Signals) -> None:
        if self.pid is not None:
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                return


def _ending(code: int) -> str:
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"
