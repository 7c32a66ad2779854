"""lua/reserve.lua called straight: the store with nothing in front of it.

Usage: ``python -m bench.floors.reserve JSON`` with an object of
    url:         the store's address
    sale_id, sku, generation
    orders:      how many, each of another buyer
    batch:       purchases a call
    window:      calls in flight, so that the store always has the next one

Commands are encoded before the clock starts, and answers are only counted, so that little of the
load's processor is taken from the store. Prints JSON: orders accepted, seconds.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
import uuid
from collections.abc import Iterator
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection

from flashorder.infra.redis import keys
from flashorder.infra.redis.scripts import load_script
from flashorder.kernel.identifiers import (
    TOKEN_BYTES,
    idempotency_token,
    new_id,
    order_id_prefix,
    request_fingerprint,
)
from flashorder.reservations.records import Purchase, ReserveCode

CHUNK_BATCHES = 400


def purchases(plan: dict[str, Any], secret: bytes, count: int) -> Iterator[Purchase]:
    """Purchases of one unit, each of another buyer."""
    sale_id = uuid.UUID(plan["sale_id"])
    for number in range(count):
        buyer = new_id().bytes
        token = idempotency_token(secret, buyer, sale_id.bytes, str(number))
        assert len(token) == TOKEN_BYTES, "as the service makes them"
        yield Purchase(
            sale_id=sale_id,
            generation=plan["generation"],
            token=token,
            prefix=order_id_prefix(),
            fingerprint=request_fingerprint(secret, buyer, b"1||"),
            buyer_id=buyer,
            sku=plan["sku"],
            quantity=1,
        )


def command(plan: dict[str, Any], batch: list[Purchase]) -> tuple[Any, ...]:
    """EVALSHA with everything that the script wants."""
    script, script_keys = load_script("reserve"), keys.reserve_keys(0, batch[0].sale_id)
    arguments = [value for each in batch for value in each.arguments()]
    head = (plan["generation"], batch[0].sale_id.bytes)
    return ("EVALSHA", script.sha, len(script_keys), *script_keys, *head, *arguments)


async def fly(connection: AbstractConnection, packed: list[list[bytes]], window: int) -> int:
    """Send all, ``window`` ahead of the answers; how many purchases were accepted."""
    accepted = 0
    for at in range(len(packed) + window):
        if at < len(packed):
            await connection.send_packed_command(packed[at])
        if at >= window:
            reply = await connection.read_response()
            accepted += reply[3::2].count(ReserveCode.ACCEPTED)
    return accepted


async def main(plan: dict[str, Any]) -> dict[str, float]:
    """Make and send chunk after chunk; only the sending is timed."""
    redis = Redis.from_url(plan["url"])
    await redis.script_load(load_script("reserve").source)
    pool: Any = redis.connection_pool
    connection: AbstractConnection = await pool.get_connection()
    secret, batch_size, left = os.urandom(32), plan["batch"], plan["orders"]
    accepted, seconds = 0, 0.0
    while left > 0:
        chunk = list(purchases(plan, secret, min(left, batch_size * CHUNK_BATCHES)))
        packed = [
            connection.pack_command(*command(plan, chunk[at : at + batch_size]))
            for at in range(0, len(chunk), batch_size)
        ]
        began = time.perf_counter()
        accepted += await fly(connection, packed, plan["window"])
        seconds += time.perf_counter() - began
        left -= len(chunk)
    await pool.release(connection)
    await redis.aclose()
    return {"accepted": accepted, "seconds": seconds}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(json.loads(sys.argv[1])))))
