"""A sale's whole life in both stores, in any order of steps, outages and losses."""

from __future__ import annotations

import asyncio
import socket
import uuid
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

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
from redis.asyncio import Redis

from flashorder.consumer import Consumer
from flashorder.infra.postgres.pool import Pool, connect_postgres, transaction
from flashorder.infra.redis.connection import connect_redis
from flashorder.inventory.ledger import StockLedger
from flashorder.kernel.errors import Conflict, FlashorderError, InvalidState, StoreUnavailable
from flashorder.kernel.identifiers import new_id
from flashorder.kernel.money import Money
from flashorder.orders.model import PAYMENT_EXPIRED, OrderStatus
from flashorder.orders.store import Step, move
from flashorder.orders.units import OrderUnits
from flashorder.reservations.holds import StoreHolds
from flashorder.reservations.records import ReserveCode
from flashorder.sales.convergence import front_sale
from flashorder.sales.front import SaleFront
from flashorder.sales.invariants import INVARIANTS
from flashorder.sales.model import LIVE, SALE, DraftItem, Sale, SaleStatus
from flashorder.sales.service import SalesService
from flashorder.settings import Settings
from tests.reservations.front import SyncFront, a_purchase
from tests.sales.conftest import draft

T = TypeVar("T")
UNITS, COUNTED_UNITS = 3, 12
TOP_UP_IDS = [uuid.UUID(int=number) for number in range(1, 6)]
OPEN, CLOSED, SETTLED = SaleStatus.OPEN, SaleStatus.CLOSED, SaleStatus.SETTLED


@dataclass
class AtFront:
    """What the front should hold."""

    status: SaleStatus
    revision: int
    stock: int
    sold: int = 0
    top_ups: set[uuid.UUID] = field(default_factory=set)


@dataclass
class Placed:
    """An order in PostgreSQL."""

    buyer_id: uuid.UUID
    status: OrderStatus = OrderStatus.PENDING_PAYMENT
    at_front: bool = True
    """Whether the front holds its unit."""


@dataclass
class Stores:
    """Both stores, and an address where no store is."""

    runner: asyncio.Runner
    pool: Pool
    direct: redis.Redis
    here: Redis
    nowhere: Redis

    async def begin(self, sku: str) -> None:
        """No sale and no order; a new product of which ``COUNTED_UNITS`` are in stock."""
        self.direct.flushall()
        await self.pool.execute("TRUNCATE sales, orders, outbox, dead_letters CASCADE")
        await self.pool.execute(
            "INSERT INTO products (sku, name, unit_price_amount, currency)"
            " VALUES ($1, 'White lantern', 339, 'GBP')",
            sku,
        )
        await self.pool.execute(
            "INSERT INTO stock_movements (movement_id, sku, kind, quantity, cause, actor)"
            " VALUES (gen_random_uuid(), $1, 'received', $2, 'delivery', 'test')",
            sku,
            COUNTED_UNITS,
        )


@pytest.fixture
def stores(database_url: str, redis_url: str) -> Iterator[Stores]:
    with (
        asyncio.Runner() as runner,
        redis.Redis.from_url(redis_url) as direct,
        socket.socket() as nobody,  # bound, and never listening
    ):
        nobody.bind(("127.0.0.1", 0))
        away = f"redis://127.0.0.1:{nobody.getsockname()[1]}/0"

        async def connected() -> tuple[Pool, Redis, Redis]:
            pool = await connect_postgres(database_url, connections_max=4)
            return pool, connect_redis(redis_url), connect_redis(away)

        pool, *clients = runner.run(connected())
        yield Stores(runner, pool, direct, *clients)
        for client in clients:
            runner.run(client.aclose())
        runner.run(pool.close())


class SaleWalk(RuleBasedStateMachine):
    """One sale. ``away`` steps are made while the store cannot be reached: the answer is lost to
    the front, and the jobs have to bring it there."""

    stores: Stores

    @initialize(verb=st.sampled_from(["schedule", "open", "resume"]))
    def begin(self, verb: str) -> None:
        self.pool, self.direct = self.stores.pool, self.stores.direct
        here, nowhere = self.stores.here, self.stores.nowhere
        self.sku = f"LANTERN-{new_id()}"  # movements of stock are never removed
        self.run(self.stores.begin(self.sku))
        config = Settings(secret="test", shards=1)  # type: ignore[arg-type]
        self.service, self.cut_off = (
            SalesService(self.pool, SaleFront(client, 1), StockLedger(), config)
            for client in (here, nowhere)
        )
        self.front = SaleFront(here, 1)
        self.config = config
        self.units = OrderUnits(self.pool, StoreHolds(here, 1))
        items = (DraftItem(self.sku, UNITS, Money(199, "GBP"), 9),)
        self.sale_id = self.run(self.service.create(draft(items=items), actor="test")).sale_id
        self.status, self.revision, self.synced = SaleStatus.DRAFT, 1, 0
        self.allotted = UNITS
        self.top_ups: dict[uuid.UUID, int] = {}
        self.applied: set[uuid.UUID] = set()
        self.there: AtFront | None = None
        self.on_their_way: list[tuple[uuid.UUID, uuid.UUID]] = []
        self.orders: dict[uuid.UUID, Placed] = {}
        self.step(verb, away=False)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.stores.runner.run(work)

    @property
    def committed(self) -> int:
        return sum(each.status is not OrderStatus.CANCELLED for each in self.orders.values())

    def attempt(self, work: Coroutine[Any, Any, Any]) -> FlashorderError | None:
        try:
            self.run(work)
        except FlashorderError as error:
            return error
        return None

    def pushed(self) -> bool:
        """The model of ``Convergence.push``: False when the sale stays out of step."""
        if self.status is SaleStatus.DRAFT:
            return False
        if self.status is SETTLED:
            self.there, self.synced = None, self.revision
            return True
        if self.there is None and not (self.synced == 0 and self.committed == 0):
            return False
        if self.there is None:
            opening = self.allotted - sum(self.top_ups.values())
            self.there = AtFront(self.status, self.revision, opening)
        elif self.there.revision < self.revision:
            self.there.status, self.there.revision = self.status, self.revision
        self.synced = self.revision
        self.top_up_front()
        return True

    def top_up_front(self) -> None:
        for top_up_id in self.top_ups.keys() - self.applied:
            if self.there is None or self.status is SETTLED or self.synced == 0:
                continue
            if top_up_id not in self.there.top_ups:
                self.there.top_ups.add(top_up_id)
                self.there.stock += self.top_ups[top_up_id]
            self.applied.add(top_up_id)

    @rule(
        verb=st.sampled_from(["schedule", "open", "open", "pause", "resume", "close"]),
        away=st.booleans(),
    )
    def step(self, verb: str, away: bool) -> None:
        target = {
            "schedule": SaleStatus.SCHEDULED,
            "pause": SaleStatus.PAUSED,
            "close": CLOSED,
        }.get(verb, OPEN)
        permitted = SALE.permits(self.status, target)
        if verb == "resume":
            permitted = self.status is SaleStatus.PAUSED
        service = self.cut_off if away else self.service
        refusal = self.attempt(getattr(service, verb)(self.sale_id))
        if self.status is target:
            assert refusal is None
        elif not permitted:
            assert isinstance(refusal, InvalidState)
        else:
            assert refusal is None
            self.status, self.revision = target, self.revision + 1
            if not away:
                self.pushed()

    @rule(top_up_id=st.sampled_from(TOP_UP_IDS), quantity=st.integers(1, 4), away=st.booleans())
    def top_up(self, top_up_id: uuid.UUID, quantity: int, away: bool) -> None:
        service = self.cut_off if away else self.service
        refusal = self.attempt(
            service.top_up(self.sale_id, self.sku, quantity, top_up_id=top_up_id, actor="test")
        )
        if top_up_id not in self.top_ups:
            if self.status not in LIVE | {SaleStatus.DRAFT}:
                assert isinstance(refusal, InvalidState)
                return
            if self.allotted + quantity > COUNTED_UNITS:
                assert isinstance(refusal, Conflict)
                assert refusal.code == "insufficient_stock"
                return
            self.top_ups[top_up_id] = quantity
            self.allotted += quantity
        assert refusal is None
        if not away and top_up_id not in self.applied:
            self.pushed()

    @rule()
    def converge(self) -> None:
        """The jobs of a worker, which has the store again."""
        self.run(self.service.convergence.push_unsynced())
        self.run(self.service.convergence.push_top_ups())
        if self.synced < self.revision:
            self.pushed()
        self.top_up_front()

    @rule()
    def die_after_telling(self) -> None:
        """The front has heard of it, and nobody has written that down."""
        sale = self.run(self.service.get(self.sale_id))
        if sale.synced_revision or self.status is SaleStatus.DRAFT:
            return
        self.run(self.front.open(front_sale(sale)))
        if self.there is None and self.status is not SETTLED:
            opening = self.allotted - sum(self.top_ups.values())
            self.there = AtFront(self.status, self.revision, opening)

    @rule(verb=st.sampled_from(["pause", "resume", "close"]))
    def lose_the_store_and_go_on(self, verb: str) -> None:
        self.lose_the_store()
        self.step(verb, away=False)

    def lose_the_store(self) -> None:
        self.direct.flushall()
        self.there = None
        self.on_their_way.clear()
        for order in self.orders.values():
            order.at_front = False

    @rule(buyers=st.integers(1, 3))
    def buy(self, buyers: int) -> None:
        sale = front_sale(self.run(self.service.get(self.sale_id)))
        wishes = [a_purchase(sale, new_id().bytes, sku=self.sku) for _ in range(buyers)]
        replies = SyncFront(self.direct, sale).reserve(*wishes)
        assert [ReserveCode(code) for code, _ in replies] == [self.bought() for _ in wishes]
        self.on_their_way += [
            (uuid.UUID(bytes=wish.prefix + wish.token), uuid.UUID(bytes=wish.buyer_id))
            for wish, (code, _) in zip(wishes, replies, strict=True)
            if code == ReserveCode.ACCEPTED
        ]

    def bought(self) -> ReserveCode:
        if self.there is None:
            return ReserveCode.SALE_NOT_FOUND
        if self.there.status is CLOSED:
            return ReserveCode.ENDED
        if self.there.status is SaleStatus.PAUSED:
            return ReserveCode.PAUSED
        if self.there.stock == 0:
            return ReserveCode.SOLD_OUT
        self.there.stock -= 1
        self.there.sold += 1
        return ReserveCode.ACCEPTED

    @rule()
    def consume(self) -> None:
        self.run(Consumer(self.stores.here, self.pool, self.config).drain_all())
        for order_id, buyer_id in self.on_their_way:
            self.orders[order_id] = Placed(buyer_id)
        self.on_their_way.clear()

    @rule(to=st.sampled_from([OrderStatus.PAID, OrderStatus.CANCELLED]), everybody=st.booleans())
    def pay_or_cancel(self, to: OrderStatus, everybody: bool) -> None:
        unpaid = [
            order_id
            for order_id, each in self.orders.items()
            if each.status is OrderStatus.PENDING_PAYMENT
        ][: None if everybody else 1]
        reason = PAYMENT_EXPIRED if to is OrderStatus.CANCELLED else None

        async def walk() -> int:
            async with transaction(self.pool) as connection:
                return len(await move(connection, unpaid, Step(to, "test", {}, reason=reason)))

        assert self.run(walk()) == len(unpaid)
        for order_id in unpaid:
            self.orders[order_id].status = to

    @rule()
    def release(self) -> None:
        self.run(self.units.release_forgotten(-1.0, 100))
        for order in self.orders.values():
            if order.status is OrderStatus.CANCELLED and order.at_front and self.there is not None:
                self.there.stock += 1
                self.there.sold -= 1
            order.at_front = order.at_front and order.status is not OrderStatus.CANCELLED

    @rule(away=st.sampled_from([False, False, True]))
    def settle(self, away: bool) -> None:
        service = self.cut_off if away else self.service
        refusal = self.attempt(service.settle(self.sale_id, actor="test"))
        if self.status is SETTLED:
            assert refusal is None
        elif self.status is not CLOSED:
            assert isinstance(refusal, InvalidState)
        elif away:
            assert isinstance(refusal, StoreUnavailable)
        else:
            self.pushed()
            if self.undrained():
                assert isinstance(refusal, Conflict)
                assert refusal.code == "sale_not_drained"
                return
            assert refusal is None
            self.status, self.revision = SETTLED, self.revision + 1
            self.allotted = self.committed
            self.applied |= self.top_ups.keys()
            self.pushed()
            for order in self.orders.values():
                order.at_front = False

    def undrained(self) -> bool:
        if any(each.status is OrderStatus.PENDING_PAYMENT for each in self.orders.values()):
            return True
        return self.there is not None and (
            self.there.sold != self.committed or bool(self.top_ups.keys() - self.applied)
        )

    @rule()
    def return_late_units(self) -> None:
        assert self.run(self.service.settling.return_late_units()) == 0

    @rule(
        consumed=st.booleans(),
        decided=st.sampled_from([OrderStatus.PAID, OrderStatus.CANCELLED, None]),
        released=st.booleans(),
        lost=st.sampled_from([False, False, True]),
    )
    def end(self, consumed: bool, decided: OrderStatus | None, released: bool, lost: bool) -> None:
        """The end of a sale in one step, for the sake of what it may find there."""
        self.step("open", away=False)
        self.buy(2)
        if consumed:
            self.consume()
        if decided is not None:
            self.pay_or_cancel(decided, everybody=True)
        if released:
            self.release()
        if lost:
            self.lose_the_store()
        self.step("close", away=False)
        self.settle(away=False)

    @invariant()
    def both_stores_are_the_model(self) -> None:
        if not hasattr(self, "orders"):
            return
        sale, at_front, available, violations = self.run(self._look())
        assert (sale.status, sale.revision, sale.synced_revision) == (
            self.status, self.revision, self.synced,
        )  # fmt: skip
        (item,) = sale.items
        assert (item.allotted, item.committed) == (self.allotted, self.committed)
        assert available == COUNTED_UNITS - self.allotted
        assert violations == []
        if self.there is None:
            assert at_front is None
        else:
            assert at_front is not None
            (there,) = at_front.items
            assert (at_front.status, there.remaining, there.sold) == (
                self.there.status, self.there.stock, self.there.sold,
            )  # fmt: skip

    async def _look(self) -> tuple[Sale, Any, int, list[Any]]:
        violations = [
            (each.name, dict(row)) for each in INVARIANTS for row in await self.pool.fetch(each.sql)
        ]
        available = await self.pool.fetchval(
            "SELECT available FROM stock_levels WHERE sku = $1", self.sku
        )
        sale = await self.service.get(self.sale_id)
        return sale, await self.front.read(self.sale_id), available, violations


def test_any_order_of_steps(stores: Stores) -> None:
    run_state_machine_as_test(
        type("Walk", (SaleWalk,), {"stores": stores}),
        settings=settings(
            max_examples=30,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
