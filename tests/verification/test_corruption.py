"""``flashorder verify`` sees whatever is not as it should be: one planted fault a test, by name.

A real system is run once until orders of every kind lie in both stores; each test gets a copy of
them, which it spoils.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable

import pytest

from flashorder.cli.verify import run_verification
from flashorder.infra.redis import keys
from flashorder.kernel.identifiers import new_id
from flashorder.reservations.records import PurchaseRecord
from flashorder.verification.model import violated
from tests.journeys.system import SKU
from tests.verification.books import Books

SALE = "UPDATE sales SET {} WHERE status = 'open'"


def sql(statement: str) -> Callable[[Books], Awaitable[None]]:
    async def plant(books: Books) -> None:
        await books.sql(statement)

    return plant


def head(field: str, value: object) -> Callable[[Books], Awaitable[None]]:
    """The sale's hash at the front says something else."""

    async def plant(books: Books) -> None:
        assert await books.redis.hset(books.sale.sale, field, str(value)) == 0, "no such field"

    return plant


def item(position: int, value: str) -> Callable[[Books], Awaitable[None]]:
    """One part of ``price|limit|list price|name`` at the front is another."""

    async def plant(books: Books) -> None:
        parts = (await books.redis.hget(books.sale.items, SKU)).decode().split("|")
        parts[position] = value
        await books.redis.hset(books.sale.items, SKU, "|".join(parts))

    return plant


def record(**changes: object) -> Callable[[Books], Awaitable[None]]:
    """What the front remembers of the order that waits for its payment is another."""

    async def plant(books: Books) -> None:
        token = await books.token_of("pending_payment")
        kept = PurchaseRecord.unpack(await books.redis.hget(books.sale.tokens, token))
        fields = {name: getattr(kept, name) for name in kept.__slots__}
        spoilt = PurchaseRecord(**(fields | changes))
        await books.redis.hset(books.sale.tokens, token, spoilt.pack())

    return plant


def units(stock: int, sold: int) -> Callable[[Books], Awaitable[None]]:
    async def plant(books: Books) -> None:
        await books.redis.hincrby(books.sale.stock, SKU, stock)
        await books.redis.hincrby(books.sale.sold, SKU, sold)

    return plant


def field_gone(name: str) -> Callable[[Books], Awaitable[None]]:
    async def plant(books: Books) -> None:
        assert await books.redis.hdel(getattr(books.sale, name), SKU) == 1

    return plant


async def sale_gone(books: Books) -> None:
    await books.redis.delete(*books.sale.all())


async def stranger(books: Books) -> None:
    await books.redis.sadd(keys.sales(0), str(uuid.uuid4()))


async def unlisted(books: Books) -> None:
    await books.redis.delete(keys.sales(0))


async def token_gone(books: Books) -> None:
    await books.redis.hdel(books.sale.tokens, await books.token_of("pending_payment"))


async def token_of_nothing(books: Books) -> None:
    await books.redis.hset(books.sale.tokens, b"0123456789", b"A\x01" + bytes(14) + b"1:1:1:x")


async def token_unreadable(books: Books) -> None:
    await books.redis.hset(books.sale.tokens, await books.token_of("paid"), b"?")


async def holding_moved(books: Books) -> None:
    ((field, held),) = (await books.redis.hgetall(books.sale.buyers)).items()
    await books.redis.hset(books.sale.buyers, field, int(held) - 1)
    await books.redis.hset(books.sale.buyers, b"another buyer ok" + SKU.encode(), 1)


async def holding_gone(books: Books) -> None:
    await books.redis.delete(books.sale.buyers)


async def holding_unreadable(books: Books) -> None:
    await books.redis.hset(books.sale.buyers, b"short", "many")


async def cheaper_everywhere(books: Books) -> None:
    order_id = await books.order("paid")
    await books.sql(
        "UPDATE order_lines SET unit_price_amount = 1, total_amount = quantity WHERE order_id = $1",
        order_id,
    )
    await books.sql("UPDATE orders SET total_amount = 1 WHERE order_id = $1", order_id)
    await books.sql("UPDATE payments SET amount = 1 WHERE order_id = $1", order_id)


async def money_without_an_order(books: Books) -> None:
    await books.sql(
        "INSERT INTO payments (payment_id, order_id, buyer_id, provider, provider_reference,"
        " status, amount, currency, attempt, keeps_order, captured_at)"
        " VALUES ($1, $1, $1, 'simulator', 'nowhere', 'captured', 5, 'GBP', 1, true, now())",
        new_id(),
    )


async def wholly_refunded(books: Books) -> None:
    order_id = await books.order("paid")
    await books.sql(
        "INSERT INTO refunds (refund_id, payment_id, order_id, status, amount, currency, reason,"
        " request_key, closed_at) SELECT gen_random_uuid(), payment_id, order_id, 'succeeded',"
        " amount, currency, 'x', 'x', now() FROM payments WHERE order_id = $1",
        order_id,
    )
    await books.sql(
        "UPDATE payments SET refunded_amount = amount, keeps_order = false WHERE order_id = $1",
        order_id,
    )


async def order_behind_its_parcel(books: Books) -> None:
    order_id = await books.order("completed")
    await books.sql(
        "DELETE FROM order_events WHERE order_id = $1"
        " AND type IN ('shipped', 'delivered', 'completed')",
        order_id,
    )
    await books.sql(
        "UPDATE orders SET status = 'awaiting_shipment', shipped_at = NULL, completed_at = NULL,"
        " delivered_at = NULL, version = 3 WHERE order_id = $1",
        order_id,
    )


async def delivery_unheard(books: Books) -> None:
    await books.sql("UPDATE orders SET delivered_at = NULL WHERE status = 'completed'")


async def shipment_never_made(books: Books) -> None:
    order_id = await books.order("awaiting_shipment")
    for table in ("shipment_events", "shipment_lines", "shipments"):
        await books.sql(
            f"DELETE FROM {table} WHERE shipment_id IN"
            " (SELECT shipment_id FROM shipments WHERE order_id = $1)",
            order_id,
        )


async def order_gone(books: Books) -> None:
    order_id = await books.order("pending_payment")
    await books.sql(
        "UPDATE sale_items SET committed = committed - 1 WHERE sale_id ="
        " (SELECT sale_id FROM orders WHERE order_id = $1)",
        order_id,
    )
    for table in ("order_events", "order_lines", "orders"):
        await books.sql(f"DELETE FROM {table} WHERE order_id = $1", order_id)


PARCELS = "verification.orders_and_parcels_go_together"
Corruptions = dict[str, tuple[Callable[[Books], Awaitable[None]], str]]

OF_THE_FRONT: Corruptions = {
    # The sale and its items.
    "item price": (item(0, "1"), "front.sale_as_told"),
    "item limit": (item(1, "9"), "front.sale_as_told"),
    "item unreadable": (item(0, ""), "front.sale_as_told"),
    "item gone": (field_gone("items"), "front.sale_as_told"),
    "generation": (head("generation", 2), "front.readable"),
    "status": (head("status", "closed"), "front.sale_as_told"),
    "start": (head("starts_at_ms", 1), "front.sale_as_told"),
    "end": (head("ends_at_ms", 1), "front.sale_as_told"),
    "window": (head("window_ms", 1), "front.sale_as_told"),
    "currency": (head("currency", "EUR"), "front.sale_as_told"),
    "sale gone": (sale_gone, "front.sale_known"),
    "sale unlisted": (unlisted, "front.sale_as_told"),
    "a sale of nowhere": (stranger, "front.no_stranger"),
    # Units, tokens, holdings.
    "stock": (units(1, 0), "front.stock_balances"),
    "stock and sold": (units(1, -1), "front.sold_is_booked"),
    "stock gone": (field_gone("stock"), "front.sale_as_told"),
    "sold gone": (field_gone("sold"), "front.sold_is_booked"),
    "token gone": (token_gone, "front.records_agree"),
    "token of nothing": (token_of_nothing, "front.accepted_is_order"),
    "token unreadable": (token_unreadable, "front.records_agree"),
    "record's quantity": (record(quantity=2), "front.records_agree"),
    "record's price": (record(unit_price_amount=1), "front.records_agree"),
    "record's SKU": (record(sku="x"), "front.records_agree"),
    "record's buyer": (record(fingerprint=b"88888888"), "front.records_agree"),
    "record's hold": (record(hold=2), "front.records_agree"),
    "record's time": (record(due_ms=1), "front.records_agree"),
    "record's order": (record(prefix=b"prefix"), "front.records_agree"),
    "record released": (record(held=False), "front.records_agree"),
    "holding of another": (holding_moved, "front.holdings_agree"),
    "holding gone": (holding_gone, "front.holdings_agree"),
    "holding unreadable": (holding_unreadable, "front.buyer_limit"),
}
OF_THE_BOOKS: Corruptions = {
    "sale closed": (
        sql(SALE.format("status = 'closed', revision = 9, synced_revision = 9")),
        "front.sale_as_told",
    ),
    "sale settled": (
        sql(SALE.format("status = 'settled', revision = 9, synced_revision = 9")),
        "front.no_stranger",
    ),
    # Orders.
    "order's buyer": (
        sql("UPDATE orders SET buyer_id = gen_random_uuid() WHERE status = 'pending_payment'"),
        "front.records_agree",
    ),
    "paid order's buyer": (
        sql("UPDATE orders SET buyer_id = gen_random_uuid() WHERE status = 'paid'"),
        "payments.payments_are_of_the_orders_buyer",
    ),
    "price, total and payment": (cheaper_everywhere, "orders.orders_cost_what_the_sale_promised"),
    "order gone": (order_gone, "front.accepted_is_order"),
    "event gone": (
        sql("DELETE FROM order_events WHERE type = 'paid'"),
        "orders.order_timeline_is_contiguous",
    ),
    "release forgotten": (
        sql("UPDATE orders SET released_at = NULL WHERE status = 'cancelled'"),
        "front.records_agree",
    ),
    "committed": (
        sql("UPDATE sale_items SET committed = committed + 1"),
        "orders.committed_units_are_those_of_living_orders",
    ),
    "allotted": (
        sql("UPDATE sale_items SET allotted = allotted + 1"),
        "sales.sale_allotted_is_allocated",
    ),
    "stock level": (
        sql("UPDATE stock_levels SET on_hand = on_hand + 1"),
        "inventory.stock_level_is_sum_of_movements",
    ),
    # Money and parcels.
    "payment gone": (
        sql("DELETE FROM payments USING orders WHERE orders.order_id = payments.order_id"
            " AND orders.status = 'paid'"),
        "orders.paid_orders_stand_on_captured_money",
    ),
    "payment keeps nothing": (
        sql("UPDATE payments SET keeps_order = false WHERE keeps_order"),
        "orders.standing_orders_keep_their_money",
    ),
    "payment without an order": (
        money_without_an_order,
        "payments.payments_are_of_the_orders_buyer",
    ),
    "payment given back": (wholly_refunded, "orders.standing_orders_keep_their_money"),
    "refund not counted": (
        sql("UPDATE payments SET refunded_amount = 0 WHERE refunded_amount > 0"),
        "payments.refunds_within_capture",
    ),
    "refund of another order": (
        sql("UPDATE refunds SET order_id = gen_random_uuid()"),
        "payments.refunds_are_of_their_payment",
    ),
    "parcel ahead of its order": (order_behind_its_parcel, PARCELS),
    "delivery unheard": (delivery_unheard, PARCELS),
    "shipment never made": (shipment_never_made, PARCELS),
}  # fmt: skip


async def broken(books: Books) -> list[str]:
    return violated((await run_verification(books.settings, 0.0)).checks)


async def test_what_the_system_left_is_sound(books: Books) -> None:
    assert await broken(books) == []


@pytest.mark.parametrize("name", OF_THE_FRONT)
async def test_a_corruption_of_the_front_is_found(front: Books, name: str) -> None:
    plant, check = OF_THE_FRONT[name]
    await plant(front)
    assert check in await broken(front)


@pytest.mark.parametrize("name", OF_THE_BOOKS)
async def test_a_corruption_of_the_books_is_found(books: Books, name: str) -> None:
    plant, check = OF_THE_BOOKS[name]
    await plant(books)
    assert check in await broken(books)
