"""What a thousand entries cost in work: counts that hold on any machine, never seconds.

A statement, a round trip or a command of the store more for each batch is seen here before a
benchmark tells.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest_asyncio
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from flashorder.consumer import Consumer
from flashorder.consumer.metrics import ConsumerMetrics
from flashorder.consumer.placing import Placed, Placing
from flashorder.consumer.service import BATCHES_IN_HAND_MAX
from flashorder.consumer.stream import IntentStream
from flashorder.infra.postgres.pool import Pool, connect_postgres
from tests.consumer.shop import Shop, settings
from tests.consumer.test_service import eventually, pending

ENTRIES, BATCH = 1000, 20
BATCHES = ENTRIES // BATCH
STATEMENTS = ("BEGIN", "lock", "place", "guard", "COMMIT", "reset of the connection")
COMMAND_COMPLETE, ERROR_RESPONSE, READY_FOR_QUERY = b"C", b"E", b"Z"


@dataclass
class Wire:
    """Passes bytes to PostgreSQL and back, and counts the kinds of messages that come back.

    A message is its kind, a byte, and its length without it, four; each ReadyForQuery ends a round
    trip ("Message Formats" of PostgreSQL's documentation).
    """

    database_url: str
    messages: Counter[bytes] = field(default_factory=Counter)
    _server: asyncio.Server | None = None
    _passing: set[asyncio.Task[None]] = field(default_factory=set)

    async def __aenter__(self) -> str:
        """The address to connect to."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        parts = urlsplit(self.database_url)
        login = parts.netloc.rpartition("@")[0]
        return parts._replace(netloc=f"{login}@127.0.0.1:{port}", query="sslmode=disable").geturl()

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._passing:
            task.cancel()
        await asyncio.gather(*self._passing, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        parts = urlsplit(self.database_url)
        there, back = await asyncio.open_connection(parts.hostname, parts.port)
        for passing in (self._requests(reader, back), self._answers(there, writer)):
            task = asyncio.create_task(passing)
            self._passing.add(task)

    async def _requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def _answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readexactly(5)
                body = await reader.readexactly(int.from_bytes(head[1:]) - 4)
                self.messages[head[:1]] += 1
                writer.write(head + body)
                await writer.drain()
        except asyncio.IncompleteReadError:
            writer.close()


@dataclass
class Counts:
    """What one drain came to."""

    batches: float = 0
    store: Counter[str] = field(default_factory=Counter)
    database: Counter[bytes] = field(default_factory=Counter)


@pytest_asyncio.fixture
async def shop(pool: Pool, redis: Redis) -> Shop:
    return await Shop.open(pool, redis, 3 * ENTRIES)


@asynccontextmanager
async def counted_pool(shop: Shop, wire: Wire) -> AsyncIterator[Pool]:
    async with wire as url:
        pool = await connect_postgres(url, connections_max=1 + BATCHES_IN_HAND_MAX)
        yield pool
        await pool.close()


async def commands(redis: Redis) -> Counter[str]:
    stats = await redis.info("commandstats")
    return Counter({name.removeprefix("cmdstat_"): each["calls"] for name, each in stats.items()})


async def drain(shop: Shop, pool: Pool, wire: Wire) -> Counts:
    """A consumer drains ``ENTRIES`` that are there before it comes, and ends."""
    registry = CollectorRegistry()
    patient = settings(
        consumer_batch_entries_max=BATCH,
        consumer_claim_idle_seconds=60.0,
        consumer_block_seconds=1.0,
        consumer_upkeep_seconds=3600.0,
    )
    wanted = await shop.count("orders") + ENTRIES
    await shop.add_entry(ENTRIES)
    consumer = Consumer(shop.redis, pool, patient, ConsumerMetrics(registry))
    stopping = asyncio.Event()
    store, database = await commands(shop.redis), wire.messages.copy()
    running = asyncio.create_task(consumer.run(stopping))

    async def is_done() -> bool:
        return await shop.count("orders") == wanted and await pending(shop.redis) == 0

    try:
        await eventually(is_done, 30)
    finally:
        stopping.set()
        await running
    return Counts(
        registry.get_sample_value("flashorder_consumer_batch_entries_count") or 0,
        await commands(shop.redis) - store,
        wire.messages - database,
    )


async def test_a_thousand_entries_are_a_few_batches_of_a_few_statements(
    shop: Shop, database_url: str
) -> None:
    wire = Wire(database_url)
    async with counted_pool(shop, wire) as pool:
        await drain(shop, pool, wire)  # each connection prepares its statements once
        counts = await drain(shop, pool, wire)
    assert counts.batches == BATCHES
    # Beginning, ending, and finding that there is no more.
    assert counts.store["xreadgroup"] <= BATCHES + 5, counts.store
    assert counts.store["xack"] <= BATCHES + BATCHES_IN_HAND_MAX, counts.store
    assert counts.store["xautoclaim"] <= 1
    # A connection that the first drain did not need may still prepare.
    spare = 2 * len(STATEMENTS)
    assert counts.database[READY_FOR_QUERY] <= BATCHES * len(STATEMENTS) + spare, counts.database
    # The reset is four of them.
    assert counts.database[COMMAND_COMPLETE] <= BATCHES * (len(STATEMENTS) + 3) + spare


async def test_only_what_was_delivered_before_is_looked_up_for_conflicts(
    shop: Shop, database_url: str
) -> None:
    await shop.add_entry(BATCH)
    stream = IntentStream(shop.redis, 0, "me", entries_max=BATCH)
    await stream.create_group()
    entries = await stream.read_new()
    wire = Wire(database_url)
    async with counted_pool(shop, wire) as pool:
        placing = Placing(pool, 0)
        assert await placing.place(entries) == Placed(BATCH, 0)
        assert await placing.place(entries, delivered_before=True) == Placed(0, 0)
        assert wire.messages[ERROR_RESPONSE] == 0
        # Unexpectedly delivered again: one refusal, and no halving.
        assert await placing.place(entries) == Placed(0, 0)
        assert wire.messages[ERROR_RESPONSE] == 1
    assert await shop.committed() == BATCH
    assert await shop.violations() == []


async def test_of_a_batch_that_is_there_in_part_the_rest_is_placed(shop: Shop) -> None:
    await shop.add_entry(BATCH)
    stream = IntentStream(shop.redis, 0, "me", entries_max=BATCH)
    await stream.create_group()
    entries = await stream.read_new()
    placing = Placing(shop.pool, 0)
    assert await placing.place(entries[::2]) == Placed(BATCH // 2, 0)
    assert await placing.place(entries) == Placed(BATCH // 2, 0)
    assert await shop.committed() == BATCH
    assert await shop.count("dead_letters") == 0
    assert await shop.violations() == []
