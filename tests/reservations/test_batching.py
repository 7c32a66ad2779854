"""The batcher over a real store: one flight at a time, bounded, honest when the store is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from msgspec import structs
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from flashorder.infra.redis import keys
from flashorder.infra.redis.connection import connect_redis
from flashorder.kernel.errors import FlashorderError, Overloaded, StoreUnavailable
from flashorder.reservations.batching import Batcher, Outcome
from flashorder.reservations.line import ScriptLine
from flashorder.reservations.metrics import ReserveMetrics
from flashorder.reservations.records import ReserveCode, Verdict
from flashorder.sales.front import FrontSale, SaleFront
from tests.reservations.fences import Trusting
from tests.reservations.front import a_purchase, a_sale, an_item
from tests.stores import BreakableStores


@asynccontextmanager
async def flying(
    url: str, *, batch_max: int = 256, waiting_max: int = 1000, timeout_seconds: float = 2.0
) -> AsyncIterator[tuple[Batcher, Redis]]:
    client = connect_redis(url, timeout_seconds=timeout_seconds)
    batcher = Batcher(
        client,
        0,
        batch_max=batch_max,
        waiting_max=waiting_max,
        metrics=ReserveMetrics(CollectorRegistry()),
        fence=Trusting(client),
    )
    stopping = asyncio.Event()
    owner = asyncio.create_task(batcher.run(stopping))
    try:
        yield batcher, client
    finally:
        stopping.set()
        await owner
        await client.aclose()


async def opened(client: Redis, quantity: int = 1000) -> FrontSale:
    sale = a_sale(an_item(quantity=quantity))
    await SaleFront(client, 1).open(sale)
    return sale


async def script_calls(client: Redis) -> int:
    stats = await client.info("commandstats")
    return int(stats.get("cmdstat_evalsha", {}).get("calls", 0))


async def eventually(holds: Callable[[], bool], within_seconds: float = 10.0) -> None:
    async with asyncio.timeout(within_seconds):
        while not holds():
            await asyncio.sleep(0.01)


async def test_what_arrives_together_is_one_call(redis_url: str) -> None:
    async with flying(redis_url) as (batcher, client):
        sale = await opened(client)
        await batcher.submit(a_purchase(sale))
        before = await script_calls(client)
        verdicts = await asyncio.gather(*(batcher.submit(a_purchase(sale)) for _ in range(300)))
        assert {verdict.code for verdict in verdicts} == {ReserveCode.ACCEPTED}
        assert await script_calls(client) - before == 2  # 256 and the rest
        assert await client.xlen(keys.intents(0)) == 301


async def test_each_purchase_gets_its_own_answer(redis_url: str) -> None:
    async with flying(redis_url) as (batcher, client):
        sale, other = await opened(client, quantity=1), await opened(client, quantity=5)
        wishes = [
            a_purchase(sale),
            a_purchase(other),
            a_purchase(sale),
            a_purchase(other, quantity=3),
        ]
        verdicts = await asyncio.gather(*map(batcher.submit, wishes))
        assert [verdict.code for verdict in verdicts] == [
            ReserveCode.ACCEPTED,
            ReserveCode.ACCEPTED,
            ReserveCode.SOLD_OUT,
            ReserveCode.LIMIT_REACHED,
        ]


async def test_too_many_waiting_is_refused_at_once(redis_url: str) -> None:
    async with flying(redis_url, waiting_max=10) as (batcher, client):
        sale = await opened(client)
        answers = await asyncio.gather(
            *(batcher.submit(a_purchase(sale)) for _ in range(50)), return_exceptions=True
        )
        refused = [answer for answer in answers if isinstance(answer, Overloaded)]
        assert len(refused) == 40
        assert all(error.retry_after_seconds for error in refused)
        assert await client.xlen(keys.intents(0)) == 10


async def test_a_buyer_who_left_does_not_disturb_the_others(redis_url: str) -> None:
    async with flying(redis_url) as (batcher, client):
        sale = await opened(client)
        leaving = asyncio.ensure_future(batcher.submit(a_purchase(sale)))
        staying = asyncio.ensure_future(batcher.submit(a_purchase(sale)))
        await asyncio.sleep(0)
        leaving.cancel()
        assert (await staying).code is ReserveCode.ACCEPTED


async def test_a_store_that_forgot_the_scripts_is_taught(redis_url: str) -> None:
    async with flying(redis_url) as (batcher, client):
        sale = await opened(client)
        await batcher.submit(a_purchase(sale))
        await client.script_flush()
        assert (await batcher.submit(a_purchase(sale))).code is ReserveCode.ACCEPTED


async def test_a_connection_lost_while_idle_costs_nobody_anything(redis_url: str) -> None:
    async with flying(redis_url) as (batcher, client):
        sale = await opened(client)
        assert (await batcher.submit(a_purchase(sale))).code is ReserveCode.ACCEPTED
        for each in await client.client_list():
            if each["id"] != str(await client.client_id()):
                await client.client_kill_filter(_id=each["id"])
        await asyncio.sleep(0.05)  # until the end of the connection has come in
        assert (await batcher.submit(a_purchase(sale))).code is ReserveCode.ACCEPTED


async def test_a_batch_that_landed_is_told_although_the_next_cannot_take_off(
    stores: BreakableStores,
) -> None:
    async with flying(stores.store.url, batch_max=1, timeout_seconds=0.5) as (batcher, client):
        sale = await opened(client)
        told: list[Outcome] = []

        def kill_and_tell(outcome: Outcome) -> None:
            told.append(outcome)
            stores.store.pause()

        batcher.put(a_purchase(sale), kill_and_tell)
        for _ in range(3):
            batcher.put(a_purchase(sale), told.append)
        try:
            await eventually(lambda: len(told) == 4)
        finally:
            stores.store.resume()
        assert isinstance(told[0], Verdict)
        assert all(isinstance(each, Verdict | StoreUnavailable) for each in told)
        await eventually(lambda: not batcher.store_is_away)


@pytest.mark.parametrize(
    "reply", [[], [1, 2, b"", 1], [1, 2, b"", 99, 0], [1, 2, 3, 1, 5], [1, 2, b"", 1, 5, 1, 5]]
)
async def test_a_reply_that_is_none_is_a_failure_of_those_who_wait_for_it(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, reply: list[int]
) -> None:
    async with flying(redis_url) as (batcher, client):
        sale = await opened(client)
        receive = ScriptLine.receive
        strange = iter([reply])

        async def odd_once(line: ScriptLine) -> Any:
            said = await receive(line)
            return next(strange, said)

        monkeypatch.setattr(ScriptLine, "receive", odd_once)
        with pytest.raises(FlashorderError):
            await batcher.submit(a_purchase(sale))
        assert (await batcher.submit(a_purchase(sale))).code is ReserveCode.ACCEPTED


async def test_a_purchase_that_cannot_be_settled_costs_the_others_nothing(redis_url: str) -> None:
    async with flying(redis_url) as (batcher, client):
        sale = await opened(client)

        def fail(outcome: Outcome) -> None:
            raise RuntimeError("the answer could not be written")

        batcher.put(a_purchase(sale), fail)
        assert (await batcher.submit(a_purchase(sale))).code is ReserveCode.ACCEPTED


async def test_a_full_store_refuses_and_sells_again(redis_url: str) -> None:
    async with flying(redis_url) as (batcher, client):
        sale = await opened(client)
        await batcher.submit(a_purchase(sale))
        used = int((await client.info("memory"))["used_memory"])
        before = (await client.config_get("maxmemory"))["maxmemory"]
        await client.config_set("maxmemory", used // 2)
        try:
            with pytest.raises(Overloaded):
                await batcher.submit(a_purchase(sale))
        finally:
            await client.config_set("maxmemory", before)
        assert (await batcher.submit(a_purchase(sale))).code is ReserveCode.ACCEPTED


async def test_a_store_that_died_is_told_at_once_and_used_again(stores: BreakableStores) -> None:
    async with flying(stores.store.url, timeout_seconds=0.5) as (batcher, client):
        sale = await opened(client)
        kept = a_purchase(sale)
        assert (await batcher.submit(kept)).code is ReserveCode.ACCEPTED
        await stores.store.kill()
        lost = a_purchase(sale)
        with pytest.raises(StoreUnavailable) as caught:
            await batcher.submit(lost)
        assert caught.value.retry_after_seconds
        clock = asyncio.get_running_loop().time
        began = clock()
        for _ in range(100):
            with pytest.raises(StoreUnavailable):
                await batcher.submit(a_purchase(sale))
        assert clock() - began < 0.5  # known to be away: not one time-out each
        await stores.store.start()
        await eventually(lambda: not batcher.store_is_away)
        again = await batcher.submit(structs.replace(lost, prefix=b"\x01\x90\x00\x00\x00\x02"))
        assert again.code in (ReserveCode.ACCEPTED, ReserveCode.REPLAYED)
        assert (await batcher.submit(kept)).code is ReserveCode.REPLAYED
        assert await client.xlen(keys.intents(0)) == 2


async def test_nothing_is_left_waiting_at_the_end(redis_url: str) -> None:
    async with flying(redis_url, batch_max=1) as (batcher, client):
        sale = await opened(client)
        waiting = [asyncio.ensure_future(batcher.submit(a_purchase(sale))) for _ in range(20)]
        await asyncio.sleep(0)
    assert {(await each).code for each in waiting} == {ReserveCode.ACCEPTED}
    with pytest.raises(StoreUnavailable):
        await batcher.submit(a_purchase(sale))
