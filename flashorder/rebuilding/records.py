"""Rows of PostgreSQL as the front remembers purchases. Pure."""

from __future__ import annotations

import asyncpg

from flashorder.consumer.entry import BadEntry, Entry, decode
from flashorder.consumer.placing import decode_fields
from flashorder.kernel.identifiers import TOKEN_BYTES
from flashorder.reservations.records import PurchaseRecord
from flashorder.sales.front import RestoredPurchase

_HOLD_OF_THE_CLICK = 1


def purchase_of_order(row: asyncpg.Record) -> RestoredPurchase:
    """A row of sql/purchases_of_sale.sql."""
    return _purchase(
        row["order_id"].bytes,
        row["buyer_id"].bytes,
        PurchaseRecord(
            held=row["held"],
            hold=row["hold"],
            prefix=row["order_id"].bytes[:-TOKEN_BYTES],
            fingerprint=row["fingerprint"],
            quantity=row["quantity"],
            unit_price_amount=row["unit_price_amount"],
            due_ms=row["due_ms"],
            sku=row["sku"],
        ),
    )


def purchase_of_dead_letter(row: asyncpg.Record) -> RestoredPurchase | None:
    """A row of sql/dead_letters_of_sale.sql; None of an entry that nobody can read."""
    entry_id = f"{row['intent_ms']}-{row['intent_seq']}".encode()
    try:
        intent = decode(Entry.of(entry_id, decode_fields(row["fields"])))
    except BadEntry:
        return None
    return _purchase(
        intent.order_id.bytes,
        intent.buyer_id.bytes,
        PurchaseRecord(
            held=row["held"],
            hold=_HOLD_OF_THE_CLICK,
            prefix=intent.order_id.bytes[:-TOKEN_BYTES],
            fingerprint=intent.fingerprint,
            quantity=intent.quantity,
            unit_price_amount=intent.unit_price_amount,
            due_ms=intent.due_ms,
            sku=intent.sku,
        ),
    )


def _purchase(order_id: bytes, buyer_id: bytes, record: PurchaseRecord) -> RestoredPurchase:
    return RestoredPurchase(
        order_id[-TOKEN_BYTES:], record.pack(), buyer_id, record.sku, record.quantity
    )
