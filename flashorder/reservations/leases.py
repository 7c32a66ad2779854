"""Leases on what is sold out: lua/sold_out.lua, asked of many SKUs at once."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from redis.asyncio import Redis
from redis.exceptions import NoScriptError

from flashorder.infra.redis.connection import store_failures
from flashorder.infra.redis.keys import intents, sale_keys
from flashorder.infra.redis.scripts import load_script

LEASE_MS: Final = 80
NOTHING: Final = -1
"""Says that a worker knows no token: it is told how things stand, and lent nothing."""

Entries = Sequence[tuple[bytes, Mapping[bytes, bytes]]]


class Question(NamedTuple):
    """Whether an SKU may be refused by who knows the tokens of its first ``known`` purchases."""

    shard: int
    sale_id: uuid.UUID
    sku: str
    known: int


class Reading(NamedTuple):
    """What lua/sold_out.lua answers, in its order."""

    lent: int
    now_ms: int
    window_ms: int
    generation: int
    status: bytes
    starts_at_ms: int
    ends_at_ms: int
    per_buyer_limit: int
    stock: int
    accepts: int
    tokens: int


class Leases:
    """Every method raises ``StoreUnavailable`` when the store is away."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._script = load_script("sold_out")

    async def ask(self, questions: Sequence[Question]) -> list[Reading | None]:
        """The answers in order, in one round trip; None where the front lacks the SKU."""
        if not questions:
            return []
        try:
            return await self._ask_once(questions)
        except NoScriptError:
            await self._redis.script_load(self._script.source)
            return await self._ask_once(questions)

    async def read_with_stream(
        self, question: Question, since_id: str, entries_max: int
    ) -> tuple[Reading | None, Entries]:
        """A reading, and the first entries of the stream from ``since_id`` on, in one moment."""
        pipeline: Any = self._redis.pipeline(transaction=True)
        self._put(pipeline, question._replace(known=NOTHING))
        pipeline.xrange(intents(question.shard), min=since_id, count=entries_max)
        with store_failures():
            reply, entries = await pipeline.execute()
        return _reading(reply), entries

    async def _ask_once(self, questions: Sequence[Question]) -> list[Reading | None]:
        pipeline = self._redis.pipeline(transaction=False)
        for question in questions:
            self._put(pipeline, question)
        with store_failures():
            return [_reading(reply) for reply in await pipeline.execute()]

    def _put(self, pipeline: Any, question: Question) -> None:
        sale = sale_keys(question.shard, question.sale_id)
        names = (sale.sale, sale.items, sale.stock, sale.tokens, sale.accepts, sale.leases)
        arguments = (question.sku, question.known, LEASE_MS)
        pipeline.evalsha(self._script.sha, len(names), *names, *arguments)


def _reading(reply: Sequence[Any]) -> Reading | None:
    return Reading._make(reply) if reply else None
