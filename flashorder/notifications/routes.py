"""The outbox over HTTP, for operators."""

from __future__ import annotations

import uuid
from typing import Any, Literal

import asyncpg
import msgspec

from flashorder.infra.http.endpoint import Call, Endpoint, Reply, Role
from flashorder.infra.http.pagination import PageQuery, page_reply, read_cursor
from flashorder.infra.postgres.pool import Pool
from flashorder.kernel.clock import rfc3339
from flashorder.kernel.errors import NotFound
from flashorder.notifications.desk import EventStatus, OutboxDesk

TAG = "outbox"
OPERATOR = frozenset({Role.OPERATOR})
_DIGITS_MAX = 18


class EventsQuery(PageQuery, forbid_unknown_fields=True, kw_only=True):
    """Filters of the list."""

    status: Literal["failing", "discarded"] | None = None


class EventView(msgspec.Struct):
    """An event between the rooms; while it fails, the later ones of its ``key`` wait.

    ``available_at`` is when it is tried next. The last three are what was decided last, if anything
    was: ``retry`` or ``discard``, by which account, and when.
    """

    event_id: int
    topic: str
    key: uuid.UUID
    payload: dict[str, Any]
    status: EventStatus
    attempts: int
    error: str | None
    created_at: str
    available_at: str | None
    decision: str | None
    decided_by: uuid.UUID | None
    decided_at: str | None


class EventPage(msgspec.Struct):
    """A page of failed events, newest first."""

    items: list[EventView]
    next_cursor: str | None = None


def endpoints(pool: Pool) -> list[Endpoint]:
    """Listing, retrying and discarding."""
    calls = _Calls(OutboxDesk(pool))
    one = "/v1/admin/outbox/{event_id}"
    missing = {404: ("event_not_found",)}
    problems = {**missing, 409: ("invalid_state",)}
    return [
        Endpoint(
            "GET", "/v1/admin/outbox", calls.listing, "List events that failed", TAG,
            roles=OPERATOR, query=EventsQuery, replies={200: EventPage},
        ),
        Endpoint(
            "GET", one, calls.read, "Read an event", TAG,
            roles=OPERATOR, replies={200: EventView}, problems=missing,
        ),
        Endpoint(
            "POST", f"{one}/retry", calls.retry, "Have a failing event tried now", TAG,
            roles=OPERATOR, replies={200: EventView}, problems=problems,
        ),
        Endpoint(
            "POST", f"{one}/discard", calls.discard, "Give a failing event up", TAG,
            roles=OPERATOR, replies={200: EventView}, problems=problems,
            description="Its effect does not happen; the later events of its key go on.",
        ),
    ]  # fmt: skip


class _Calls:
    def __init__(self, desk: OutboxDesk) -> None:
        self._desk = desk

    async def listing(self, call: Call) -> Reply:
        key = read_cursor(call.query.cursor, (int,))
        rows = await self._desk.page(
            call.query.status, key[0] if key else None, call.query.limit + 1
        )
        return page_reply(call, rows, key=lambda row: (row["event_id"],), show=_view)

    async def read(self, call: Call) -> Reply:
        return await self._shown(_event_id(call))

    async def retry(self, call: Call) -> Reply:
        event_id = _event_id(call)
        await self._desk.retry(event_id, call.caller.account_id)
        return await self._shown(event_id)

    async def discard(self, call: Call) -> Reply:
        event_id = _event_id(call)
        await self._desk.discard(event_id, call.caller.account_id)
        return await self._shown(event_id)

    async def _shown(self, event_id: int) -> Reply:
        return Reply(200, _view(await self._desk.read(event_id)))


def _event_id(call: Call) -> int:
    """The id in the path; what is no id cannot exist, so it is a 404."""
    text = call.path["event_id"]
    if not (text.isascii() and text.isdecimal() and len(text) <= _DIGITS_MAX):
        raise NotFound(code="event_not_found")
    return int(text)


def _view(row: asyncpg.Record) -> EventView:
    return EventView(
        event_id=row["event_id"],
        topic=row["topic"],
        key=row["key"],
        payload=row["payload"],
        status=EventStatus(row["status"]),
        attempts=row["attempts"],
        error=row["last_error"],
        created_at=rfc3339(row["created_at"]),
        available_at=rfc3339(row["available_at"]) if row["processed_at"] is None else None,
        decision=row["decision"],
        decided_by=row["decided_by"],
        decided_at=None if row["decided_at"] is None else rfc3339(row["decided_at"]),
    )
