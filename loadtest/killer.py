"""A process of its own that kills a role in the middle of a sale, by what the store has sold.

The shoppers' process is busy reading answers and would notice the middle when it is over.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from uuid import UUID

from redis import Redis

from flashorder.infra.redis.keys import sale_keys

POLL_SECONDS = 0.001


async def kill_when_sold(
    redis_url: str, sale_id: str, units: int, pid: int
) -> tuple[float, int] | None:
    """``kill -9 pid`` once ``units`` are sold: time.monotonic() and units sold; None if never."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "loadtest.killer", redis_url, sale_id, str(units), str(pid)),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        out, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if not out.strip():
        return None
    told = json.loads(out)
    return told["at"], told["sold"]


def main() -> None:
    """REDIS_URL SALE_ID UNITS PID."""
    redis_url, sale_id, units, pid = sys.argv[1:]
    key = sale_keys(0, UUID(sale_id)).sold
    with Redis.from_url(redis_url) as redis:
        while True:
            sold = sum(int(each) for each in redis.hvals(key))
            if sold >= int(units):
                os.kill(int(pid), signal.SIGKILL)
                sys.stdout.write(json.dumps({"at": time.monotonic(), "sold": sold}) + "\n")
                return
            time.sleep(POLL_SECONDS)


if __name__ == "__main__":
    main()
