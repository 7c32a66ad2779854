"""Order rows into PostgreSQL with one statement a batch and nothing else: the floor of the drain.

Usage: ``python -m bench.floors.insert JSON`` with an object of
    url:     the database's address
    table:   where to: a table with the columns of ``orders``
    orders:  how many
    batch:   rows a statement

INSERT … SELECT unnest … ON CONFLICT DO NOTHING through asyncpg, a transaction a batch, columns made
before the clock starts. The ids rise with time as those of the front do, or the floor would pay for
an index at random. Prints JSON: rows, seconds, CPU seconds of this process.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
import uuid
from datetime import UTC, datetime
from typing import Any

import asyncpg
import uvloop

from flashorder.kernel.identifiers import new_id, order_number

ORDERS_PER_MS = 100  # about what the store accepts when nothing stands in front of it

COLUMNS = (
    ("order_id", "uuid"),
    ("order_number", "text"),
    ("buyer_id", "uuid"),
    ("sale_id", "uuid"),
    ("currency", "text"),
    ("total_amount", "bigint"),
    ("fingerprint", "bytea"),
    ("shard", "smallint"),
    ("intent_ms", "bigint"),
    ("intent_seq", "integer"),
    ("accepted_at", "timestamptz"),
    ("payment_due_at", "timestamptz"),
)


def statement(table: str) -> str:
    """The insert."""
    names = ", ".join(name for name, _ in COLUMNS)
    arrays = ", ".join(f"${n}::{kind}[]" for n, (_, kind) in enumerate(COLUMNS, 1))
    return f"INSERT INTO {table} ({names}) SELECT * FROM unnest({arrays}) ON CONFLICT DO NOTHING"


def batches(plan: dict[str, Any]) -> list[tuple[list[Any], ...]]:
    """Columns of each batch."""
    sale_id, now = new_id(), datetime.now(UTC)
    began_ms = time.time_ns() // 1_000_000
    made = []
    for first in range(0, plan["orders"], plan["batch"]):
        rows = []
        for number in range(first, min(first + plan["batch"], plan["orders"])):
            now_ms = began_ms + number // ORDERS_PER_MS
            order_id = uuid.UUID(bytes=now_ms.to_bytes(6) + os.urandom(10))
            rows.append(
                (order_id, order_number(order_id.bytes), new_id(), sale_id, "GBP", 1999,
                 os.urandom(8), 0, now_ms, number, now, now)
            )  # fmt: skip
        made.append(tuple(list(column) for column in zip(*rows, strict=True)))
    return made


async def main(plan: dict[str, Any]) -> dict[str, float]:
    """Insert all, and tell what it took."""
    made = batches(plan)
    connection = await asyncpg.connect(plan["url"])
    insert = await connection.prepare(statement(plan["table"]))
    before, began = time.process_time(), time.perf_counter()
    for columns in made:
        await insert.fetch(*columns)
    seconds, used = time.perf_counter() - began, time.process_time() - before
    rows = await connection.fetchval(f"SELECT count(*) FROM {plan['table']}")
    await connection.close()
    return {"rows": rows, "seconds": seconds, "cpu_seconds": used}


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(main(json.loads(sys.argv[1])))))
