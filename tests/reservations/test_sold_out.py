"""The sold-out memo against the real scripts: it refuses only what the store would refuse."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace

import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from msgspec import structs
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from flashorder.infra.redis import keys
from flashorder.infra.redis.connection import connect_redis
from flashorder.kernel.errors import StoreUnavailable
from flashorder.reservations import sold_out as module
from flashorder.reservations.accepted_tokens import AcceptedTokens
from flashorder.reservations.metrics import ReserveMetrics
from flashorder.reservations.records import Purchase, ReserveCode
from flashorder.reservations.sold_out import SoldOut
from flashorder.sales.front import FrontSale
from tests.reservations.front import FAR_FUTURE_MS, SyncFront, a_purchase, a_sale, an_item
from tests.stores import BreakableStores

BUYERS = [os.urandom(16) for _ in range(4)]


@dataclass
class Worker:
    """A worker's memo beside a front whose scripts are called directly."""

    front: SyncFront
    redis: Redis
    sold_out: SoldOut
    registry: CollectorRegistry

    @property
    def sale(self) -> FrontSale:
        return self.front.sale

    def ask(self, *purchases: Purchase) -> list[ReserveCode]:
        """The store's word on them; the memo hears of what is sold out."""
        codes = []
        for purchase, (code, detail) in zip(purchases, self.front.reserve(*purchases), strict=True):
            codes.append(ReserveCode(code))
            if codes[-1] is ReserveCode.SOLD_OUT and detail == 0:
                self.sold_out.heard(0, purchase)
        return codes

    def refuses(self, purchase: Purchase | None = None, shard: int = 0) -> bool:
        wish = purchase or a_purchase(self.sale)
        return self.sold_out.refuses(
            shard, wish.sale_id.int, wish.generation, wish.sku, wish.quantity, wish.token
        )

    async def lent(self) -> None:
        """Sold out, everything known, and a lease in force."""
        assert self.ask(a_purchase(self.sale)) == [ReserveCode.SOLD_OUT]
        await self.sold_out.scan(0, self.sale.sale_id)
        await self.sold_out.look()

    async def calls(self, command: str) -> int:
        stats = await self.redis.info("commandstats")
        return int(stats.get(f"cmdstat_{command}", {}).get("calls", 0))

    def sample(self, name: str) -> float | None:
        return self.registry.get_sample_value(name)


@asynccontextmanager
async def working(
    url: str, sale: FrontSale, *, skus_max: int = 8, tokens_max: int = 1000
) -> AsyncIterator[Worker]:
    client, registry = connect_redis(url), CollectorRegistry()
    sold_out = SoldOut(
        client, skus_max=skus_max, tokens_max=tokens_max, metrics=ReserveMetrics(registry)
    )
    try:
        with redis.Redis.from_url(url) as direct:
            front = SyncFront(direct, sale)
            assert front.open() == 1
            yield Worker(front, client, sold_out, registry)
    finally:
        await client.aclose()


@asynccontextmanager
async def running(worker: Worker) -> AsyncIterator[None]:
    stopping = asyncio.Event()
    owner = asyncio.create_task(worker.sold_out.run(stopping))
    try:
        yield
    finally:
        stopping.set()
        await owner


async def eventually(holds: Callable[[], bool], within_seconds: float = 10.0) -> None:
    async with asyncio.timeout(within_seconds):
        while not holds():
            await asyncio.sleep(0.002)


async def test_it_ends_although_a_cancellation_is_swallowed(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by the client's wait_for before Python 3.12, whose inner call is done already."""
    begun = asyncio.Event()

    async def scan(*_: object) -> None:
        begun.set()
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    monkeypatch.setattr(SoldOut, "scan", scan)
    async with (
        asyncio.timeout(10),
        working(redis_url, a_sale(an_item("A", 0))) as worker,
        running(worker),
    ):
        assert worker.ask(a_purchase(worker.sale, sku="A")) == [ReserveCode.SOLD_OUT]
        await begun.wait()


def test_the_filter_never_forgets_and_seldom_errs() -> None:
    tokens = AcceptedTokens(1, room=2000)
    known, others = ([os.urandom(10) for _ in range(2000)] for _ in range(2))
    tokens.add(known)
    assert all(map(tokens.may_have, known))
    assert sum(map(tokens.may_have, others)) < 2000 / 8


async def test_it_refuses_who_comes_too_late_and_nobody_else(redis_url: str) -> None:
    sale = a_sale(an_item("A", quantity=2, per_buyer_limit=2), an_item("B", quantity=1))
    async with working(redis_url, sale) as worker:
        bought = [a_purchase(sale, sku="A") for _ in range(2)]
        assert worker.ask(*bought) == [ReserveCode.ACCEPTED] * 2
        assert not worker.refuses()
        await worker.lent()
        late = a_purchase(sale, sku="A", quantity=2)
        assert worker.refuses(late)
        assert not any(worker.refuses(each) for each in bought)
        for other in (
            structs.replace(late, quantity=3),  # the store says that this is over the limit
            structs.replace(late, sku="B"),
            structs.replace(late, generation=2),
            a_purchase(a_sale(), sku="A"),
        ):
            assert not worker.refuses(other)
        assert not worker.refuses(late, shard=1)


async def test_a_lease_ends_by_itself(redis_url: str) -> None:
    async with working(redis_url, a_sale(an_item(quantity=1))) as worker:
        worker.ask(a_purchase(worker.sale))
        await worker.lent()
        assert worker.refuses()
        await eventually(lambda: not worker.refuses())


async def test_a_unit_that_comes_back_is_sold(redis_url: str) -> None:
    async with working(redis_url, a_sale(an_item(quantity=1))) as worker:
        bought = a_purchase(worker.sale)
        worker.ask(bought)
        async with running(worker):
            worker.ask(a_purchase(worker.sale))
            await eventually(worker.refuses)
            worker.front.release(bought, 1)
            # No lease after the release, so the last one decides when the unit is sold.
            until_ms = int(
                worker.front.client.hget(worker.front.keys.leases, worker.sale.items[0].sku)
            )
            assert until_ms - worker.front.sold_out(worker.sale.items[0].sku)[1] <= module.LEASE_MS
            wish = a_purchase(worker.sale)
            await eventually(
                lambda: not worker.refuses(wish) and worker.ask(wish) == [ReserveCode.ACCEPTED]
            )
            worker.ask(a_purchase(worker.sale))
            await eventually(worker.refuses)
            assert not worker.refuses(wish)
            assert not worker.refuses(bought)


async def test_a_top_up_is_sold(redis_url: str) -> None:
    async with working(redis_url, a_sale(an_item(quantity=1))) as worker:
        worker.ask(a_purchase(worker.sale))
        async with running(worker):
            worker.ask(a_purchase(worker.sale))
            await eventually(worker.refuses)
            assert worker.front.top_up(os.urandom(16), worker.sale.items[0].sku, 5) == 1
            wish = a_purchase(worker.sale)
            await eventually(
                lambda: not worker.refuses(wish) and worker.ask(wish) == [ReserveCode.ACCEPTED]
            )


@pytest.mark.parametrize(("status", "code"), [
    ("paused", ReserveCode.PAUSED), ("closed", ReserveCode.ENDED),
])  # fmt: skip
async def test_a_sale_that_does_not_sell_is_the_store_s_to_tell(
    redis_url: str, status: str, code: ReserveCode
) -> None:
    async with working(redis_url, a_sale(an_item(quantity=1))) as worker:
        worker.ask(a_purchase(worker.sale))
        await worker.lent()
        assert worker.refuses()
        worker.front.client.hset(worker.front.keys.sale, "status", status)
        await worker.sold_out.look()
        assert not worker.refuses()
        assert worker.ask(a_purchase(worker.sale)) == [code]


async def test_a_sale_built_anew_is_learnt_anew(redis_url: str) -> None:
    async with working(redis_url, a_sale(an_item(quantity=1))) as worker:
        worker.ask(a_purchase(worker.sale))
        await worker.lent()
        assert worker.refuses()
        newer = replace(worker.sale, generation=2)
        worker.front.sale = newer
        assert worker.front.open() == 1
        bought = a_purchase(newer)
        assert worker.ask(bought) == [ReserveCode.SOLD_OUT]  # until the lease has ended
        worker.front.client.delete(worker.front.keys.leases)
        assert worker.ask(bought) == [ReserveCode.ACCEPTED]
        await worker.sold_out.look()
        assert not worker.refuses()
        await worker.lent()
        assert worker.refuses()
        assert not worker.refuses(bought)


async def test_what_another_worker_sold_is_read_from_the_stream(redis_url: str) -> None:
    sale = a_sale(an_item("A", quantity=1), an_item("B", quantity=100))
    async with working(redis_url, sale) as worker:
        bought = a_purchase(sale, sku="A")
        worker.ask(bought)
        await worker.lent()
        scans = await worker.calls("hscan")
        worker.front.client.delete(worker.front.keys.leases)  # as if it had ended
        worker.front.release(bought, 1)
        again = a_purchase(sale, sku="A")
        worker.ask(*(a_purchase(sale, sku="B") for _ in range(10)))
        assert worker.ask(again) == [ReserveCode.ACCEPTED]
        await worker.sold_out.look()
        assert not worker.refuses()
        await worker.sold_out.look()
        assert worker.refuses()
        assert not worker.refuses(again)
        assert not worker.refuses(bought)
        assert await worker.calls("hscan") == scans


async def test_what_the_stream_has_lost_is_scanned(redis_url: str) -> None:
    async with working(redis_url, a_sale(an_item(quantity=1))) as worker:
        bought = a_purchase(worker.sale)
        worker.ask(bought)
        await worker.lent()
        worker.front.client.delete(worker.front.keys.leases)
        worker.front.release(bought, 1)
        again = a_purchase(worker.sale)
        worker.ask(again)
        worker.front.client.xtrim(keys.intents(0), maxlen=0, approximate=False)
        for _ in range(3):
            await worker.sold_out.look()
            assert not worker.refuses()
        await worker.lent()
        assert worker.refuses()
        assert not worker.refuses(again)


async def test_what_is_too_much_to_be_read_is_scanned(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reading that is cut off and begins with what is known has as many as there are new ones."""
    monkeypatch.setattr(module, "CATCH_UP_ENTRIES_MAX", 2)
    sale = a_sale(an_item("A", quantity=1), an_item("B", quantity=100))
    async with working(redis_url, sale) as worker:
        client = worker.front.client
        worker.ask(a_purchase(sale, sku="B"))
        # The store's clock was set back: whatever comes now, its id is later than any reading.
        ((_, entry),) = client.xrange(keys.intents(0))
        client.xadd(keys.intents(0), entry, id=f"{FAR_FUTURE_MS}-1")
        bought, again = a_purchase(sale, sku="A"), a_purchase(sale, sku="A")
        worker.ask(bought)
        await worker.lent()
        client.delete(worker.front.keys.leases)
        worker.front.release(bought, 1)
        assert worker.ask(a_purchase(sale, sku="B"), again) == [ReserveCode.ACCEPTED] * 2
        for _ in range(3):
            await worker.sold_out.look()
            assert not any(worker.refuses(a_purchase(sale, sku="A")) for _ in range(5))
            assert not worker.refuses(again)


async def test_a_sale_with_too_many_purchases_is_left_to_the_store(redis_url: str) -> None:
    async with working(redis_url, a_sale(an_item(quantity=3)), tokens_max=2) as worker:
        worker.ask(*(a_purchase(worker.sale) for _ in range(3)))
        async with running(worker):
            worker.ask(a_purchase(worker.sale))
            looks, scans = await worker.calls("evalsha"), await worker.calls("hscan")
            async with asyncio.timeout(10):
                while await worker.calls("evalsha") < looks + 3:
                    await asyncio.sleep(0.01)
            assert not worker.refuses()
            assert await worker.calls("hscan") == scans


async def test_more_skus_than_it_may_remember_are_left_to_the_store(redis_url: str) -> None:
    sale = a_sale(an_item("A", quantity=1), an_item("B", quantity=1))
    async with working(redis_url, sale, skus_max=1) as worker:
        for sku in "AB":
            worker.ask(a_purchase(sale, sku=sku), a_purchase(sale, sku=sku))
        await worker.lent()
        assert worker.refuses(a_purchase(sale, sku="A"))
        assert not worker.refuses(a_purchase(sale, sku="B"))


async def test_what_nobody_asks_for_is_not_looked_at(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with working(redis_url, a_sale(an_item(quantity=1))) as worker:
        worker.ask(a_purchase(worker.sale))
        await worker.lent()
        monkeypatch.setattr(module, "IDLE_SECONDS", 0.0)
        assert worker.refuses()
        await worker.sold_out.look()  # somebody was refused meanwhile
        assert worker.refuses()
        await worker.sold_out.look()
        await worker.sold_out.look()
        assert not worker.refuses()
        before = await worker.calls("evalsha")
        await worker.sold_out.look()
        assert await worker.calls("evalsha") == before


async def test_refusals_are_counted(redis_url: str) -> None:
    async with working(redis_url, a_sale(an_item(quantity=1))) as worker:
        worker.ask(a_purchase(worker.sale))
        await worker.lent()
        assert worker.sample("flashorder_sold_out_leases") == 1
        assert [worker.refuses() for _ in range(3)] == [True] * 3
        async with running(worker):
            pass
        assert worker.sample("flashorder_sold_out_refused_total") == 3
        assert worker.sample("flashorder_sold_out_leases") == 0
        assert not worker.refuses()


async def test_a_store_that_went_away_takes_its_leases_along(stores: BreakableStores) -> None:
    async with working(stores.store.url, a_sale(an_item(quantity=1))) as worker:
        worker.ask(a_purchase(worker.sale))
        await worker.lent()
        assert worker.refuses()
        await stores.store.kill()
        with pytest.raises(StoreUnavailable):
            await worker.sold_out.look()
        assert not worker.refuses()
        async with running(worker):
            await stores.store.start()
            bought = a_purchase(worker.sale)
            assert worker.ask(bought) == [ReserveCode.SOLD_OUT]
            await eventually(worker.refuses)


class MemoMachine(RuleBasedStateMachine):
    """Whatever happens at the front in whatever order, the memo is not caught in a lie."""

    url: str
    runner: asyncio.Runner

    @initialize()
    def open_sale(self) -> None:
        self.direct = redis.Redis.from_url(self.url)
        self.direct.flushall()
        self.working = working(self.url, a_sale(an_item("A", 2, 2), an_item("B", 1, 1)))
        self.worker = self.runner.run(self.working.__aenter__())
        self.bought: list[tuple[Purchase, int]] = []
        self.revision = 1

    def teardown(self) -> None:
        if hasattr(self, "working"):
            self.runner.run(self.working.__aexit__(None, None, None))
            self.direct.close()

    def buy(self, purchase: Purchase) -> None:
        """As the service does: the memo first, then the store."""
        refused = self.worker.refuses(purchase)
        (code,) = self.worker.ask(purchase)
        if refused and self.worker.refuses(purchase):  # the store decided while the lease stood
            assert code in (ReserveCode.SOLD_OUT, ReserveCode.LIMIT_REACHED, ReserveCode.PAUSED)
        if code is ReserveCode.ACCEPTED:
            self.bought.append((purchase, 1))

    wishes = st.tuples(
        st.sampled_from(BUYERS), st.sampled_from("AB"), st.integers(1, 2), st.integers(0, 9)
    )

    def wish(self, wish: tuple[bytes, str, int, int]) -> Purchase:
        buyer, sku, quantity, key = wish
        return a_purchase(self.worker.sale, buyer, f"key-{key}", sku, quantity)

    @rule(wish=wishes)
    def purchase(self, wish: tuple[bytes, str, int, int]) -> None:
        self.buy(self.wish(wish))

    @rule(sku=st.sampled_from("AB"))
    def everybody_comes(self, sku: str) -> None:
        for _ in range(5):
            self.buy(a_purchase(self.worker.sale, sku=sku))
        self.runner.run(self.worker.sold_out.scan(0, self.worker.sale.sale_id))
        self.look(1)

    @rule(pick=st.integers(0, 50))
    def release(self, pick: int) -> None:
        if self.bought:
            at = pick % len(self.bought)
            purchase, hold = self.bought[at]
            self.worker.front.release(purchase, hold)

    @rule(pick=st.integers(0, 50))
    def reclaim(self, pick: int) -> None:
        if self.bought:
            at = pick % len(self.bought)
            purchase, hold = self.bought[at]
            if hold < 255 and self.worker.front.reclaim(purchase, hold + 1) == 1:
                self.bought[at] = purchase, hold + 1

    @rule(sku=st.sampled_from("AB"), quantity=st.integers(-1, 2))
    def top_up(self, sku: str, quantity: int) -> None:
        self.worker.front.top_up(os.urandom(16), sku, quantity)

    @rule(status=st.sampled_from(["open", "paused"]), limit=st.integers(1, 2))
    def change(self, status: str, limit: int) -> None:
        self.revision += 1
        self.worker.front.change(self.revision, status, "A", limit)

    @rule()
    def trim(self) -> None:
        self.direct.xtrim(keys.intents(0), maxlen=0, approximate=False)

    @rule(times=st.integers(1, 3))
    def look(self, times: int) -> None:
        for _ in range(times):
            self.runner.run(self.worker.sold_out.look())

    @rule(wishes=st.lists(wishes, max_size=4), gives_back=st.booleans())
    def scan_while_it_goes_on(
        self, wishes: list[tuple[bytes, str, int, int]], gives_back: bool
    ) -> None:
        async def scan() -> None:
            scanning = asyncio.create_task(self.worker.sold_out.scan(0, self.worker.sale.sale_id))
            for wish in wishes:
                await asyncio.sleep(0)
                if gives_back:
                    self.release(len(wishes))
                self.buy(self.wish(wish))
            await scanning

        self.runner.run(scan())

    @rule()
    def leases_end(self) -> None:
        deadline = time.monotonic() + 10
        while self.direct.exists(self.worker.front.keys.leases) and any(
            self.worker.refuses(a_purchase(self.worker.sale, sku=sku)) for sku in "AB"
        ):
            assert time.monotonic() < deadline
            time.sleep(0.005)

    @invariant()
    def no_accepted_key_is_refused(self) -> None:
        for purchase, _ in getattr(self, "bought", []):
            assert not self.worker.refuses(purchase)


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


def test_any_order_of_calls(redis_url: str, runner: asyncio.Runner) -> None:
    machine = type("Machine", (MemoMachine,), {"url": redis_url, "runner": runner})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=60,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
