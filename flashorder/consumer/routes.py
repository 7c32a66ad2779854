"""Dead letters over HTTP, for operators."""

from __future__ import annotations

import uuid
from enum import StrEnum

import asyncpg
import msgspec

from flashorder.consumer.dead_letters import DeadLetters
from flashorder.infra.http.endpoint import Call, Endpoint, Reply, Role
from flashorder.infra.http.pagination import PageQuery, page_reply, read_cursor
from flashorder.kernel.clock import rfc3339

TAG = "dead letters"
OPERATOR = frozenset({Role.OPERATOR})


class DeadLetterStatus(StrEnum):
    """held → retried, discarded."""

    HELD = "held"
    RETRIED = "retried"
    DISCARDED = "discarded"


class DeadLettersQuery(PageQuery, forbid_unknown_fields=True, kw_only=True):
    """Filters of the list."""

    status: DeadLetterStatus | None = None


class DeadLetterView(msgspec.Struct):
    """An entry that no order could be made of; ``entry`` is its id in the shard's stream."""

    dead_letter_id: str
    status: str
    error: str
    shard: int
    entry: str
    order_id: str | None
    sale_id: str | None
    buyer_id: str | None
    sku: str | None
    quantity: int | None
    created_at: str
    closed_at: str | None
    closed_by: str | None
    released_at: str | None


class DeadLetterPage(msgspec.Struct):
    """A page of dead letters, newest first."""

    items: list[DeadLetterView]
    next_cursor: str | None = None


def endpoints(letters: DeadLetters) -> list[Endpoint]:
    """Listing, retrying and discarding."""
    desk = _Desk(letters)
    missing = {404: ("dead_letter_not_found",)}
    return [
        Endpoint(
            "GET", "/v1/admin/dead-letters", desk.listing, "List dead letters", TAG,
            roles=OPERATOR, query=DeadLettersQuery, replies={200: DeadLetterPage},
        ),
        Endpoint(
            "GET", "/v1/admin/dead-letters/{dead_letter_id}", desk.read, "Read a dead letter", TAG,
            roles=OPERATOR, replies={200: DeadLetterView}, problems=missing,
        ),
        Endpoint(
            "POST", "/v1/admin/dead-letters/{dead_letter_id}/retry", desk.retry,
            "Make the order after all", TAG,
            roles=OPERATOR, replies={200: DeadLetterView},
            problems=missing | {409: ("dead_letter_refused", "invalid_state")},
        ),
        Endpoint(
            "POST", "/v1/admin/dead-letters/{dead_letter_id}/discard", desk.discard,
            "Give the entry up and its units back", TAG,
            roles=OPERATOR, replies={200: DeadLetterView},
            problems=missing | {409: ("invalid_state",)},
        ),
    ]  # fmt: skip


class _Desk:
    """The operators' calls."""

    def __init__(self, letters: DeadLetters) -> None:
        self._letters = letters

    async def listing(self, call: Call) -> Reply:
        key = read_cursor(call.query.cursor, (uuid.UUID,))
        rows = await self._letters.page(
            call.query.status, key[0] if key else None, call.query.limit + 1
        )
        return page_reply(call, rows, key=lambda row: (row["dead_letter_id"],), show=_view)

    async def read(self, call: Call) -> Reply:
        return await self._shown(call)

    async def retry(self, call: Call) -> Reply:
        await self._letters.retry(call.path_id("dead_letter_id"), call.caller.account_id)
        return await self._shown(call)

    async def discard(self, call: Call) -> Reply:
        await self._letters.discard(call.path_id("dead_letter_id"), call.caller.account_id)
        return await self._shown(call)

    async def _shown(self, call: Call) -> Reply:
        return Reply(200, _view(await self._letters.read(call.path_id("dead_letter_id"))))


def _view(row: asyncpg.Record) -> DeadLetterView:
    return DeadLetterView(
        dead_letter_id=str(row["dead_letter_id"]),
        status=row["status"],
        error=row["error"],
        shard=row["shard"],
        entry=f"{row['intent_ms']}-{row['intent_seq']}",
        order_id=_text(row["order_id"]),
        sale_id=_text(row["sale_id"]),
        buyer_id=_text(row["buyer_id"]),
        sku=row["sku"],
        quantity=row["quantity"],
        created_at=rfc3339(row["created_at"]),
        closed_at=rfc3339(row["closed_at"]) if row["closed_at"] else None,
        closed_by=_text(row["closed_by"]),
        released_at=rfc3339(row["released_at"]) if row["released_at"] else None,
    )


def _text(value: uuid.UUID | None) -> str | None:
    return None if value is None else str(value)
