"""Identifiers: UUIDv7 everywhere, and the order id that carries its own idempotency token.

An order id is a UUIDv7 (RFC 9562, section 5.7): 48 bits of Unix time in milliseconds, then 74 bits
that are elsewhere random. Here they are a keyed hash of (buyer, sale, idempotency key). So the last
ten bytes of the id are the idempotency token itself, and one Redis hash, keyed by those ten bytes,
serves replay, look-up by order id and release. See docs/adr/0003-order-id-carries-the-token.md.
"""

from __future__ import annotations

import hashlib
import time
import uuid
from functools import lru_cache

import uuid_utils

TOKEN_BYTES = 10
FINGERPRINT_BYTES = 8
# Of the ten bytes of a token: what the hash gives, and what makes a UUIDv7 of the id.
_HASHED_BITS = int.from_bytes(bytes((0x0F, 0xFF, 0x3F)) + b"\xff" * (TOKEN_BYTES - 3))
_VERSION_7_VARIANT_10 = int.from_bytes(bytes((0x70, 0, 0x80)) + bytes(TOKEN_BYTES - 3))
_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_CROCKFORD_PAIRS = [high + low for high in _CROCKFORD for low in _CROCKFORD]


def new_id() -> uuid.UUID:
    """A fresh UUIDv7."""
    return uuid.UUID(bytes=uuid_utils.uuid7().bytes)


@lru_cache(maxsize=1024)
def parse_id(text: str) -> uuid.UUID | None:
    """The UUID that ``text`` is the canonical form of (36 characters, any case), or None."""
    if len(text) != 36:
        return None
    try:
        parsed = uuid.UUID(text)
    except ValueError:
        return None
    return parsed if str(parsed) == text.lower() else None


def idempotency_token(secret: bytes, buyer_id: bytes, sale_id: bytes, key: str) -> bytes:
    """The ten bytes that stand for one intent of one buyer in one sale.

    ``secret`` is at most 64 bytes; version and variant bits of a UUIDv7 are set already.
    """
    keyed = _keyed(secret).copy()
    keyed.update(buyer_id + sale_id + key.encode())
    return (int.from_bytes(keyed.digest()) & _HASHED_BITS | _VERSION_7_VARIANT_10).to_bytes(
        TOKEN_BYTES
    )


@lru_cache(maxsize=16)
def _keyed(secret: bytes) -> hashlib.blake2b:
    """A hash that has taken the key already: copying it is half of what keying one costs."""
    return hashlib.blake2b(key=secret, digest_size=TOKEN_BYTES)


def id_text(raw: bytes) -> str:
    """The canonical form of 16 bytes; a quarter of what ``str(UUID(bytes=…))`` costs."""
    digits = raw.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def request_fingerprint(secret: bytes, buyer_id: bytes, body: bytes) -> bytes:
    """Eight bytes that tell one request of a buyer from another; ``body`` is canonical.

    The first four are the end of the buyer's id, so that the record of an order proves its owner;
    the last four are a keyed hash of the body.
    """
    return buyer_id[-4:] + body_hash(secret, body)


def body_hash(secret: bytes, body: bytes) -> bytes:
    """The last four bytes of a fingerprint."""
    return hashlib.blake2b(
        body, key=secret, digest_size=FINGERPRINT_BYTES - 4, person=b"fingerprint"
    ).digest()


def order_id_prefix(now_seconds: float | None = None) -> bytes:
    """The first six bytes of an order id: Unix time in milliseconds, big-endian."""
    seconds = time.time() if now_seconds is None else now_seconds
    return int(seconds * 1000).to_bytes(6)


def order_number(order_id: bytes) -> str:
    """What a buyer reads on the phone: ``XXXX-XXXX-XXXX``, 60 bits of the id in Crockford base 32.

    The bits are those of the keyed hash, so numbers cannot be guessed by counting and need no
    counter; Crockford's alphabet has no I, L, O or U. They are the end of the id, so the token
    alone gives the same number: an id of the same token never has another.
    """
    bits = int.from_bytes(order_id[-8:])
    pairs = _CROCKFORD_PAIRS
    return (
        f"{pairs[bits >> 50 & 1023]}{pairs[bits >> 40 & 1023]}-"
        f"{pairs[bits >> 30 & 1023]}{pairs[bits >> 20 & 1023]}-"
        f"{pairs[bits >> 10 & 1023]}{pairs[bits & 1023]}"
    )


def shard_of(buyer_id: bytes, shard_count: int) -> int:
    """The shard that a buyer belongs to: limit, token and stock portion live together there."""
    return int.from_bytes(buyer_id[-4:]) % shard_count if shard_count > 1 else 0
