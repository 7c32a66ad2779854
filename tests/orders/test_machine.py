"""The order's machine against the SQL: every step that it permits, and none that it does not."""

from __future__ import annotations

import asyncio
import itertools
import os
import uuid
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from flashorder.consumer.entry import Intent
from flashorder.consumer.placing import place_intents
from flashorder.infra.postgres.pool import Pool, connect_postgres, transaction
from flashorder.kernel.identifiers import new_id, order_number
from flashorder.orders.invariants import INVARIANTS
from flashorder.orders.model import ORDER, PAYMENT_EXPIRED, EventType, OrderStatus
from flashorder.orders.store import Step, UnitsRefused, append_note, append_note_once, move

SKU, UNITS, PRICE = "A", 3, 500
NEEDS_CHILD_ROWS = {
    "paid_orders_stand_on_captured_money",
    "shipped_orders_have_a_parcel",
    "standing_orders_keep_their_money",
}
STATES = st.sampled_from(list(OrderStatus))


@dataclass
class Known:
    """What an order should be."""

    status: OrderStatus = OrderStatus.PENDING_PAYMENT
    version: int = 1
    hold: int = 1


async def new_sale(pool: Pool) -> uuid.UUID:
    sale_id = new_id()
    await pool.execute(
        "INSERT INTO sales (sale_id, title, status, currency, starts_at, ends_at)"
        " VALUES ($1, 'A sale', 'open', 'GBP', now(), now() + interval '1 hour')",
        sale_id,
    )
    await pool.execute(
        "INSERT INTO products (sku, name, unit_price_amount, currency)"
        " VALUES ($1, 'A product', $2, 'GBP') ON CONFLICT DO NOTHING",
        SKU,
        PRICE,
    )
    await pool.execute(
        "INSERT INTO sale_items (sale_id, sku, unit_price_amount, per_buyer_limit, allotted)"
        " VALUES ($1, $2, $3, 1, $4)",
        sale_id,
        SKU,
        PRICE,
        UNITS,
    )
    return sale_id


async def place(pool: Pool, sale_id: uuid.UUID, number: int) -> uuid.UUID:
    order_id = new_id()
    intent = Intent(
        order_id, order_number(order_id.bytes), new_id(), sale_id, SKU, 1, PRICE, None,
        os.urandom(8), 1_700_000_000_000, 4_000_000_000_000, number, number,
    )  # fmt: skip
    async with transaction(pool) as connection:
        await place_intents(connection, 0, [intent])
    return order_id


def step_to(target: OrderStatus) -> Step:
    reason = PAYMENT_EXPIRED if target == OrderStatus.CANCELLED else None
    return Step(target, "test", {"payment_id": "p"}, reason=reason)


class OrderMachine(RuleBasedStateMachine):
    """Orders of one sale with three units; ``known`` is the model."""

    dsn = ""
    numbers = itertools.count(1)

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.known: dict[uuid.UUID, Known] = {}
        self.pool: Pool

    @initialize()
    def open_the_sale(self) -> None:
        async def begin() -> tuple[Pool, uuid.UUID]:
            pool = await connect_postgres(self.dsn, connections_max=1)
            return pool, await new_sale(pool)

        self.pool, self.sale_id = self.runner.run(begin())

    @property
    def committed(self) -> int:
        return sum(each.status != OrderStatus.CANCELLED for each in self.known.values())

    def pick(self, at: int) -> uuid.UUID | None:
        ids = sorted(self.known)
        return ids[at % len(ids)] if ids else None

    @rule()
    def buy(self) -> None:
        placing = place(self.pool, self.sale_id, next(self.numbers))
        if self.committed == UNITS:
            with pytest.raises(UnitsRefused):
                self.runner.run(placing)
        else:
            self.known[self.runner.run(placing)] = Known()

    @rule(at=st.integers(0, 20), to=STATES)
    def step(self, at: int, to: OrderStatus) -> None:
        order_id = self.pick(at)
        if order_id is None:
            return
        before = self.known[order_id]
        comes_back = before.status == OrderStatus.CANCELLED
        permitted = ORDER.permits(before.status, to)
        moving = self._move(order_id, to)
        if permitted and comes_back and self.committed == UNITS:
            with pytest.raises(UnitsRefused):
                self.runner.run(moving)
            return
        moved = self.runner.run(moving)
        assert len(moved) == int(permitted), f"{before.status} to {to}"
        if permitted:
            self.known[order_id] = Known(to, before.version + 1, before.hold + comes_back)
            assert moved[0].version == before.version + 1
            assert moved[0].hold == before.hold + comes_back

    async def _move(self, order_id: uuid.UUID, target: OrderStatus) -> Any:
        async with transaction(self.pool) as connection:
            return await move(connection, [order_id], step_to(target))

    @rule(at=st.integers(0, 20))
    def note(self, at: int) -> None:
        order_id = self.pick(at)
        if order_id is None:
            return

        async def write() -> None:
            async with transaction(self.pool) as connection:
                await append_note(connection, order_id, EventType.NOTE, "test", {"text": "x"})

        self.runner.run(write())
        self.known[order_id].version += 1

    @rule(at=st.integers(0, 20), name=st.sampled_from("ab"))
    def note_once(self, at: int, name: str) -> None:
        order_id = self.pick(at)
        if order_id is None:
            return

        async def write() -> int | None:
            async with transaction(self.pool) as connection:
                return await append_note_once(
                    connection, order_id, EventType.REFUND_DUE, "test", {"payment_id": name}, {}
                )

        if self.runner.run(write()) is not None:
            self.known[order_id].version += 1
        assert self.runner.run(write()) is None

    @invariant()
    def the_database_agrees(self) -> None:
        if not hasattr(self, "pool"):
            return
        orders, committed, violations = self.runner.run(self._look())
        assert orders == {
            order_id: (each.status, each.version, each.hold)
            for order_id, each in self.known.items()
        }
        assert committed == self.committed
        assert violations == []

    async def _look(self) -> tuple[dict[uuid.UUID, Any], int, list[Any]]:
        rows = await self.pool.fetch(
            "SELECT order_id, status, version, hold FROM orders WHERE sale_id = $1", self.sale_id
        )
        committed = await self.pool.fetchval(
            "SELECT committed FROM sale_items WHERE sale_id = $1", self.sale_id
        )
        violations = [
            (each.name, dict(row))
            for each in INVARIANTS
            if each.name not in NEEDS_CHILD_ROWS
            for row in await self.pool.fetch(each.sql)
        ]
        return {row[0]: (row[1], row[2], row[3]) for row in rows}, committed, violations

    def teardown(self) -> None:
        if hasattr(self, "pool"):
            self.runner.run(self.pool.close())
        self.runner.close()


def test_any_walk_keeps_to_the_machine(database_url: str) -> None:
    OrderMachine.dsn = database_url
    run_state_machine_as_test(
        OrderMachine,
        settings=settings(
            max_examples=15,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


PATHS = {
    OrderStatus.PENDING_PAYMENT: [],
    OrderStatus.PAID: [OrderStatus.PAID],
    OrderStatus.AWAITING_SHIPMENT: [OrderStatus.PAID, OrderStatus.AWAITING_SHIPMENT],
    OrderStatus.SHIPPED: [
        OrderStatus.PAID, OrderStatus.AWAITING_SHIPMENT, OrderStatus.SHIPPED,
    ],
    OrderStatus.COMPLETED: [
        OrderStatus.PAID, OrderStatus.AWAITING_SHIPMENT, OrderStatus.SHIPPED,
        OrderStatus.COMPLETED,
    ],
    OrderStatus.CANCELLED: [OrderStatus.CANCELLED],
}  # fmt: skip


async def test_every_pair_is_a_step_of_the_sql_or_refused_by_it(pool: Pool) -> None:
    for number, (source, target) in enumerate(itertools.product(OrderStatus, repeat=2), 1):
        order_id = await place(pool, await new_sale(pool), number)
        async with transaction(pool) as connection:
            for status in PATHS[source]:
                assert await move(connection, [order_id], step_to(status))
        before = await pool.fetchval("SELECT count(*) FROM outbox")
        async with transaction(pool) as connection:
            moved = await move(connection, [order_id], step_to(target))
        row = await pool.fetchrow(
            "SELECT status, version FROM orders WHERE order_id = $1", order_id
        )
        steps = 1 + len(PATHS[source])
        if ORDER.permits(source, target):
            assert (row["status"], row["version"]) == (target, steps + 1), (source, target)
            assert len(moved) == 1
        else:
            assert (row["status"], row["version"]) == (source, steps), (source, target)
            assert moved == []
        told = await pool.fetchval("SELECT count(*) FROM outbox")
        assert told - before == len(moved), "an announcement a step, and none without"


async def test_the_database_refuses_a_status_without_its_time(pool: Pool) -> None:
    await place(pool, await new_sale(pool), 1)
    for status in set(OrderStatus) - {OrderStatus.PENDING_PAYMENT}:
        with pytest.raises(asyncpg.CheckViolationError):
            await pool.execute("UPDATE orders SET status = $1", status)


def test_a_step_never_widens_the_machine() -> None:
    with pytest.raises(AssertionError):
        Step(OrderStatus.SHIPPED, "test", sources=[OrderStatus.PAID]).guard()
