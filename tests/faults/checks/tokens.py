"""Which order a key leads to, whether or not anybody was told of it (docs/adr/0003)."""

from __future__ import annotations

from uuid import UUID

from flashorder.kernel.identifiers import TOKEN_BYTES, idempotency_token
from tests.faults.snapshot import Snapshot


def token_of(end: Snapshot, identity: tuple[str, str, str]) -> str:
    """The end of the order id that (buyer, sale, key) leads to, in hex."""
    buyer, sale, key = identity
    secret = bytes.fromhex(end.idempotency_secret)
    return idempotency_token(secret, UUID(buyer).bytes, UUID(sale).bytes, key).hex()


def token_in(order_id: str) -> str:
    """The end of an order id, in hex."""
    return UUID(order_id).hex[-2 * TOKEN_BYTES :]
