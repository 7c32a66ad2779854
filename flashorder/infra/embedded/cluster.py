"""Make a PostgreSQL cluster, all of it or none."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

from flashorder.infra.embedded.binaries import DatabaseBinaries
from flashorder.infra.embedded.data_folder import DataFolder, kept_password
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


async def _succeed(process: ServerProcess) -> None:
    try:
        async with asyncio.timeout(INITDB_TIMEOUT_SECONDS):
            code = await process.wait()
    except TimeoutError as error:
        raise process.start_failure(f"not done within {INITDB_TIMEOUT_SECONDS:g} s") from error
    finally:
        await process.kill()
    if code != 0:
        raise process.start_failure(f"it ended with exit code {code}")


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
