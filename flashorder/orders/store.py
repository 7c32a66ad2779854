"""How an order moves: one guarded UPDATE, its events, its outbox rows and its units, together."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flashorder.infra.postgres.outbox import publish
from flashorder.infra.postgres.pool import Connection
from flashorder.infra.postgres.sql import load_sql
from flashorder.kernel.errors import Conflict, NotFound
from flashorder.kernel.events import Event, Topic
from flashorder.orders.model import EVENT_OF, ORDER, TOPICS, EventType, OrderStatus

SQL = load_sql("flashorder.orders")

Units = Mapping[tuple[uuid.UUID, str], int]
"""Units by (sale id, SKU)."""


class UnitsRefused(Conflict):
    """The sale has not that many units to promise."""

    default_code = "units_refused"


@dataclass(frozen=True, slots=True)
class Order:
    """An order as it stands while its row is locked."""

    order_id: uuid.UUID
    status: OrderStatus
    cancel_reason: str | None
    buyer_id: uuid.UUID
    sale_id: uuid.UUID | None
    hold: int
    currency: str
    total_amount: int
    version: int
    released: bool


@dataclass(frozen=True, slots=True)
class Moved:
    """What a transition left behind; ``was_cancelled`` where its units are taken again."""

    order_id: uuid.UUID
    version: int
    hold: int
    sale_id: uuid.UUID | None
    buyer_id: uuid.UUID
    was_cancelled: bool


@dataclass(frozen=True, slots=True)
class Step:
    """A transition: where to, by whom, with what words.

    ``sources`` narrows the states that the machine permits; ``reason`` belongs to a cancellation.
    """

    to: OrderStatus
    actor: str
    data: Mapping[str, Any] = field(default_factory=dict)
    reason: str | None = None
    sources: Sequence[OrderStatus] | None = None

    def guard(self) -> list[str]:
        """The states that the UPDATE may find the order in."""
        permitted = ORDER.sources(self.to)
        if self.sources is None:
            return permitted
        assert set(self.sources) <= set(permitted), "narrower than the machine, never wider"
        return [str(status) for status in self.sources]


async def lock_order(connection: Connection, order_id: uuid.UUID) -> Order:
    """The order, its row locked until the transaction ends; ``NotFound`` if there is none."""
    row = await connection.fetchrow(SQL["lock_order"], order_id)
    if row is None:
        raise NotFound(code="order_not_found")
    return Order(
        order_id=row["order_id"],
        status=OrderStatus(row["status"]),
        cancel_reason=row["cancel_reason"],
        buyer_id=row["buyer_id"],
        sale_id=row["sale_id"],
        hold=row["hold"],
        currency=row["currency"],
        total_amount=row["total_amount"],
        version=row["version"],
        released=row["released_at"] is not None,
    )


async def move(connection: Connection, order_ids: Sequence[uuid.UUID], step: Step) -> list[Moved]:
    """Take the step for those of ``order_ids`` whose state permits it; the others are left out.

    Raises ``UnitsRefused`` when a cancelled order comes back and its units are promised elsewhere;
    the caller's transaction is then rolled back.
    """
    rows = await connection.fetch(
        SQL["transition"], list(order_ids), step.to, step.guard(), step.reason
    )
    moved = [Moved(*row) for row in rows]
    if not moved:
        return moved
    data = {**step.data, "reason": step.reason} if step.reason else dict(step.data)
    await _append(connection, moved, EVENT_OF[step.to], step.actor, data)
    lines = await _lines(connection, moved) if step.to == OrderStatus.CANCELLED else {}
    await publish(connection, [_announcement(each, step, lines) for each in moved])
    if step.to == OrderStatus.CANCELLED:
        await lower_committed(connection, _units(moved, lines))
    elif back := [each for each in moved if each.was_cancelled]:
        await raise_committed(connection, _units(back, await _lines(connection, back)))
    return moved


async def append_note(
    connection: Connection,
    order_id: uuid.UUID,
    event: EventType,
    actor: str,
    data: Mapping[str, Any],
) -> int:
    """Write ``event`` beside the steps; returns its version. The order's row is locked by it."""
    version: int | None = await connection.fetchval(SQL["bump_version"], order_id)
    if version is None:
        raise NotFound(code="order_not_found")
    await connection.execute(SQL["append_events"], [order_id], [version], event, actor, dict(data))
    return version


async def append_note_once(
    connection: Connection,
    order_id: uuid.UUID,
    event: EventType,
    actor: str,
    identity: Mapping[str, Any],
    data: Mapping[str, Any],
) -> int | None:
    """Like ``append_note`` but None if an event with this ``identity`` is there already.

    The order's row must be locked, or two might find nothing at the same time.
    """
    if await find_event(connection, order_id, event, identity) is not None:
        return None
    return await append_note(connection, order_id, event, actor, {**identity, **data})


async def find_event(
    connection: Connection, order_id: uuid.UUID, event: EventType, contains: Mapping[str, Any]
) -> dict[str, Any] | None:
    """The data of the newest such event, or None."""
    data: dict[str, Any] | None = await connection.fetchval(
        SQL["find_event"], order_id, event, dict(contains)
    )
    return data


async def lower_committed(connection: Connection, units: Units) -> None:
    """Take the promise of ``units`` back."""
    if units:
        rows = await connection.fetch(SQL["lower_committed"], *_columns(units))
        assert len(rows) == len(units), "an order stands on a sale item that is not there"


async def raise_committed(connection: Connection, units: Units) -> None:
    """Promise ``units``: all of them, or ``UnitsRefused``."""
    if units:
        rows = await connection.fetch(SQL["raise_committed"], *_columns(units))
        if len(rows) < len(units):
            granted = {(row["sale_id"], row["sku"]) for row in rows}
            refused = ", ".join(f"{sku} of {sale}" for sale, sku in sorted(set(units) - granted))
            raise UnitsRefused(f"no units left of {refused}")


def _columns(units: Units) -> tuple[list[uuid.UUID], list[str], list[int]]:
    return [sale for sale, _ in units], [sku for _, sku in units], list(units.values())


async def _append(
    connection: Connection,
    moved: Iterable[Moved],
    event: EventType,
    actor: str,
    data: Mapping[str, Any],
) -> None:
    order_ids = [each.order_id for each in moved]
    versions = [each.version for each in moved]
    await connection.execute(SQL["append_events"], order_ids, versions, event, actor, dict(data))


async def _lines(
    connection: Connection, moved: Iterable[Moved]
) -> dict[uuid.UUID, list[dict[str, Any]]]:
    rows = await connection.fetch(SQL["lines_of"], [each.order_id for each in moved])
    lines: dict[uuid.UUID, list[dict[str, Any]]] = {}
    for row in rows:
        line = {"sku": row["sku"], "quantity": row["quantity"]}
        lines.setdefault(row["order_id"], []).append(line)
    return lines


def _units(moved: Iterable[Moved], lines: Mapping[uuid.UUID, list[dict[str, Any]]]) -> Units:
    units: dict[tuple[uuid.UUID, str], int] = {}
    for each in moved:
        if each.sale_id is not None:
            for line in lines.get(each.order_id, ()):
                at = (each.sale_id, line["sku"])
                units[at] = units.get(at, 0) + line["quantity"]
    return units


def _announcement(
    moved: Moved, step: Step, lines: Mapping[uuid.UUID, list[dict[str, Any]]]
) -> Event:
    payload: dict[str, Any] = {"order_id": str(moved.order_id), "version": moved.version}
    topic: Topic = TOPICS[step.to]
    if step.to == OrderStatus.CANCELLED:
        payload |= {
            "reason": step.reason,
            "hold": moved.hold,
            "sale_id": str(moved.sale_id) if moved.sale_id else None,
            "buyer_id": str(moved.buyer_id),
            "lines": lines.get(moved.order_id, []),
        }
    return Event(topic, moved.order_id, payload)
