"""The files of a PostgreSQL cluster: made as a whole or not at all, and freed of stale claims."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

from flashorder.infra.embedded.binaries import DatabaseBinaries
from flashorder.infra.embedded.data_folder import DataFolder, kept_password
from flashorder.infra.embedded.leftovers import KILL_TIMEOUT_SECONDS, end_leftovers
from flashorder.infra.embedded.process import ServerCommand, ServerProcess
from flashorder.infra.embedded.run_as import choose_run_as, hand_over

INITDB_TIMEOUT_SECONDS = 120.0


async def make_cluster(
    folder: DataFolder, binaries: DatabaseBinaries, *, role: str, durable: bool
) -> None:
    """Run initdb in a sibling folder and rename it when it is complete.

    So ``postgres/`` is a whole cluster with its password or is not there at all, wherever the
    power fails. ``role`` is the superuser. Raises ``ServerStartFailed`` with initdb's words.
    """
    unfinished = folder.unfinished_database_folder
    unfinished.mkdir(mode=0o700)
    cluster = unfinished / "cluster"
    cluster.mkdir(mode=0o700)
    password_file = unfinished / "password"
    kept_password(password_file)
    run_as = await choose_run_as(binaries.initdb, cluster)
    hand_over(unfinished, run_as)
    process = await ServerProcess.spawn(
        ServerCommand(
            name="initdb",
            argv=(
                str(binaries.initdb),
                f"--pgdata={cluster}",
                f"--username={role}",
                f"--pwfile={password_file}",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--locale=C",
                "--no-instructions",
                *(() if durable else ("--no-sync",)),
            ),
            folder=unfinished,
            log_file=folder.fresh_log("initdb"),
            stop_signal=signal.SIGTERM,
            run_as=run_as,
        )
    )
    await _succeed(process)
    unfinished.rename(folder.database_folder)
    if durable:
        _sync_folder(folder.path)


def disown_stale_pid_file(cluster: Path) -> None:
    """Let PostgreSQL start although a crash left ``postmaster.pid``; nobody works there any more.

    The pid in it may be some other process by now (after a reboot, in a new container), and
    PostgreSQL would refuse. It overlooks the pid of its own parent, so ours goes in; the rest
    stays, for it also looks there whether the shared memory of the dead server is still in use.
    """
    pid_file = cluster / "postmaster.pid"
    try:
        _, *rest = pid_file.read_text(encoding="utf-8").splitlines(keepends=True)
    except FileNotFoundError:
        return
    except ValueError:
        # Cut off while it was written: PostgreSQL would ask for its removal by hand.
        pid_file.unlink()
        return
    pid_file.write_text("".join((f"{os.getpid()}\n", *rest)), encoding="utf-8")


async def _succeed(process: ServerProcess) -> None:
    try:
        async with asyncio.timeout(INITDB_TIMEOUT_SECONDS):
            code = await process.wait()
    except TimeoutError as error:
        raise process.start_failure(f"not done within {INITDB_TIMEOUT_SECONDS:g} s") from error
    finally:
        await process.kill()
        # A killed initdb leaves the server that it had started on the folder.
        await end_leftovers(process.command.folder, signal.SIGKILL, KILL_TIMEOUT_SECONDS)
    if code != 0:
        raise process.start_failure(f"it ended with exit code {code}")


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
