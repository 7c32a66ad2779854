"""A program that runs both stores until it is killed: the parent in the tests of its death.

Usage: ``python launcher.py DATA_FOLDER``. Writes one JSON line once both answer, or the name and
the words of the error that kept it from that.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from flashorder.infra.embedded import DataFolder, EmbeddedDatabase, EmbeddedServerError
from flashorder.infra.embedded.valkey import EmbeddedStore


async def run(path: Path) -> None:
    with DataFolder(path) as folder:
        async with EmbeddedStore(folder) as store, EmbeddedDatabase(folder, durable=False) as base:
            assert store.binary is not None
            assert base.binaries is not None
            say(
                redis_url=store.url,
                database_url=base.url,
                pids=[store.pid, base.pid],
                origins=[store.binary.origin, base.binaries.postgres.origin],
            )
            await asyncio.Event().wait()


def say(**fields: object) -> None:
    sys.stdout.write(f"{json.dumps(fields)}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    try:
        asyncio.run(run(Path(sys.argv[1])))
    except EmbeddedServerError as error:
        say(error=type(error).__name__, detail=str(error))
