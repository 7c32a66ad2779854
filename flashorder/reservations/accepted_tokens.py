"""Which tokens of a sale were accepted, as far as a worker must know to refuse another."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from redis.asyncio import Redis

from flashorder.infra.redis.connection import store_failures
from flashorder.infra.redis.keys import sale_keys
from flashorder.kernel.identifiers import TOKEN_BYTES
from flashorder.kernel.intents import INTENT_FIELD, unpack_intent

BITS_PER_TOKEN_MIN: Final = 16
ROOM_MIN: Final = 1024
# What one step of the scan asks for: 0.3 ms of the worker's loop and 0.1 ms of the store's.
CHUNK_TOKENS: Final = 500


class AcceptedTokens:
    """A Bloom filter with one hash, for up to ``room`` tokens of one generation of a sale.

    It answers "maybe" to every token that was added, and to one in ``BITS_PER_TOKEN_MIN`` of the
    others at most; those are the store's to decide. A set of a million tokens takes 100 MB, this
    takes 4. Tokens are keyed hashes of the service, so nobody outside can aim at a bit.
    """

    __slots__ = ("_bits", "_mask", "count", "generation", "room")

    def __init__(self, generation: int, room: int) -> None:
        self.generation = generation
        self.room = max(room, ROOM_MIN)
        self.count = 0
        bits = 1 << (self.room * BITS_PER_TOKEN_MIN - 1).bit_length()
        self._bits = bytearray(bits >> 3)
        self._mask = bits - 1

    def add(self, tokens: Iterable[bytes]) -> None:
        """Remember that ``tokens`` were accepted."""
        bits, mask = self._bits, self._mask
        for token in tokens:
            at = hash(token) & mask
            bits[at >> 3] |= 1 << (at & 7)
            self.count += 1

    def may_have(self, token: bytes) -> bool:
        """False only where ``token`` was certainly not added."""
        at = hash(token) & self._mask
        return bool(self._bits[at >> 3] >> (at & 7) & 1)

    async def scan(self, redis: Redis, shard: int, sale_id: uuid.UUID) -> None:
        """Add every token that the front had when this began; later ones may be among them.

        That is what HSCAN promises. Raises ``StoreUnavailable``; ``ResponseError`` where the store
        has no ``HSCAN … NOVALUES`` (Redis before 7.4).
        """
        name, cursor = sale_keys(shard, sale_id).tokens, 0
        tokens: Any
        while True:
            with store_failures():
                cursor, tokens = await redis.hscan(name, cursor, count=CHUNK_TOKENS, no_values=True)
            self.add(tokens)
            if cursor == 0:
                return


def tokens_of(
    entries: Sequence[tuple[bytes, Mapping[bytes, bytes]]], sale_id: uuid.UUID, sku: str
) -> list[bytes]:
    """The tokens of the stream's ``entries`` that are of this SKU of this sale."""
    wanted = (sale_id.bytes, sku.encode())
    intents = (unpack_intent(fields[INTENT_FIELD]) for _, fields in entries)
    return [each.order_id[-TOKEN_BYTES:] for each in intents if (each.sale_id, each.sku) == wanted]
