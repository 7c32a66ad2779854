"""What a thousand purchases cost in work: counts that hold on any machine, never seconds.

A change that makes each purchase call twice as much, ask the store once more, or fly alone is seen
here before a benchmark tells; docs/performance.md has what the counts were worth in time.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any
from unittest import mock

import pytest

from flashorder.infra.http.endpoint import Role
from flashorder.infra.http.tokens import TokenSigner
from flashorder.infra.redis.connection import connect_redis
from flashorder.kernel.identifiers import new_id
from tests.journeys.system import SKU, System

PURCHASES = 1000
AT_ONCE = 50
PACKAGE = Path(__file__).parents[2] / "flashorder"
# Where a purchase goes through; what carries the order on afterwards runs in the same process here.
HOT = tuple(f"{PACKAGE}/{room}/" for room in ("infra/http", "infra/telemetry", "reservations"))


def requests(system: System, sale_id: str, count: int) -> list[bytes]:
    """Purchases of as many shoppers, as they go over the wire."""
    signer = TokenSigner.of(system.settings)
    body = f'{{"sku":"{SKU}","quantity":1}}'
    return [
        (
            f"POST /v1/sales/{sale_id}/orders HTTP/1.1\r\nHost: h\r\n"
            f"Content-Type: application/json\r\nIdempotency-Key: {uuid.uuid4().hex}\r\n"
            f"Authorization: Bearer {signer.sign(new_id(), Role.SHOPPER, 'session')}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}"
        ).encode()
        for _ in range(count)
    ]


class Shoppers:
    """Kept connections that each send one request after the other."""

    def __init__(self, connections: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]):
        self._connections = connections

    async def send(self, wishes: list[bytes], status: bytes) -> None:
        """All of ``wishes``, each answered with ``status``."""
        shares = [wishes[at :: len(self._connections)] for at in range(len(self._connections))]
        await asyncio.gather(*map(self._one_by_one, self._connections, shares))
        assert self._status == status

    async def _one_by_one(
        self, connection: tuple[asyncio.StreamReader, asyncio.StreamWriter], wishes: list[bytes]
    ) -> None:
        reader, writer = connection
        for wish in wishes:
            writer.write(wish)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.partition(b"Content-Length: ")[2].split(b"\r\n")[0])
            await reader.readexactly(length)
            self._status = head[9:12]

    _status = b""


@pytest.fixture
async def shoppers(system: System) -> Any:
    at = ("127.0.0.1", system.settings.port)
    connections = [await asyncio.open_connection(*at) for _ in range(AT_ONCE)]
    yield Shoppers(connections)
    for _, writer in connections:
        writer.close()


@contextmanager
def calls_counted() -> Iterator[Counter[str]]:
    """Calls of Python functions on the hot path, by name, in this thread."""
    calls: Counter[str] = Counter()

    def profile(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(HOT):
            calls[f"{Path(frame.f_code.co_filename).name}:{frame.f_code.co_qualname}"] += 1

    sys.setprofile(profile)
    try:
        yield calls
    finally:
        sys.setprofile(None)


async def commands(system: System) -> Counter[str]:
    """What the store has executed so far, by command; those inside of scripts too."""
    client = connect_redis(system.settings.redis_url.get_secret_value())
    try:
        stats = await client.info("commandstats")
    finally:
        await client.aclose()
    return Counter({name.removeprefix("cmdstat_"): each["calls"] for name, each in stats.items()})


async def test_a_thousand_purchases_ask_the_store_in_batches(
    system: System, shoppers: Shoppers
) -> None:
    sale_id = await system.open_sale(quantity=PURCHASES + AT_ONCE, limit=1)
    wishes = requests(system, sale_id, PURCHASES + AT_ONCE)
    await shoppers.send(wishes[:AT_ONCE], b"202")
    before = await commands(system)
    await shoppers.send(wishes[AT_ONCE:], b"202")
    done = await commands(system) - before
    assert done["xadd"] <= PURCHASES + PURCHASES // 10  # one each; the outbox has some of its own
    assert done["evalsha"] <= PURCHASES / 8  # fifty shoppers at once fly at least eight together
    # Beside the entry, a purchase costs the store no command of its own.
    assert done["hset"] + done["hmget"] + done["hget"] + done["hincrby"] <= PURCHASES


async def test_a_purchase_calls_few_functions_and_starts_no_task(
    system: System, shoppers: Shoppers
) -> None:
    sale_id = await system.open_sale(quantity=PURCHASES + AT_ONCE, limit=1)
    wishes = requests(system, sale_id, PURCHASES + AT_ONCE)
    await shoppers.send(wishes[:AT_ONCE], b"202")
    loop = asyncio.get_running_loop()
    with (
        mock.patch.object(loop, "create_task", wraps=loop.create_task) as started,
        calls_counted() as calls,
    ):
        await shoppers.send(wishes[AT_ONCE:], b"202")
    of_requests = Counter({name: count for name, count in calls.items() if count >= PURCHASES // 2})
    assert of_requests.total() <= 50 * PURCHASES, of_requests.most_common()
    tasks = Counter(call.args[0].__qualname__ for call in started.call_args_list)
    of_requests = Counter({name: count for name, count in tasks.items() if "Request" in name})
    assert of_requests.total() <= AT_ONCE, tasks  # RequestHandler.start, _handle_request


async def test_a_sold_out_refusal_asks_nobody(system: System, shoppers: Shoppers) -> None:
    sale_id = await system.open_sale(quantity=1, limit=1)
    (first,) = requests(system, sale_id, 1)
    await Shoppers(shoppers._connections[:1]).send([first], b"202")
    wishes = requests(system, sale_id, PURCHASES)
    async with asyncio.timeout(20):
        while True:  # until the worker has learnt of it
            before = await commands(system)
            await shoppers.send(requests(system, sale_id, AT_ONCE), b"409")
            if (await commands(system) - before)["hmget"] < AT_ONCE / 2:
                break
    before = await commands(system)
    await shoppers.send(wishes, b"409")
    done = await commands(system) - before
    assert done["xadd"] <= PURCHASES / 10
    assert done["evalsha"] <= PURCHASES / 8


async def test_purchases_make_no_garbage_that_must_be_collected(
    system: System, shoppers: Shoppers
) -> None:
    sale_id = await system.open_sale(quantity=PURCHASES + AT_ONCE, limit=1)
    wishes = requests(system, sale_id, PURCHASES + AT_ONCE)
    await shoppers.send(wishes[:AT_ONCE], b"202")
    gc.collect()
    gc.disable()
    try:
        await shoppers.send(wishes[AT_ONCE:], b"202")
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        found = Counter(type(each).__name__ for each in gc.garbage)
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    # A callback that held itself would be a function and its cells for each purchase.
    assert found["Answer"] + found["function"] + found["cell"] < PURCHASES / 4, found
