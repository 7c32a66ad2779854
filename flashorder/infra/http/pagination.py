"""Keyset pages: ``{"items", "next_cursor"}`` and ``Link: …; rel="next"``.

A cursor is the sort key of the last item, opaque to clients. It is checked, not signed: whoever
forges one only begins elsewhere in a list that is filtered by its owner anyway.

A list endpoint in full::

    class Orders(PageQuery, forbid_unknown_fields=True):
        status: str | None = None

    async def listing(call: Call) -> Reply:
        after = read_cursor(call.query.cursor, (datetime, uuid.UUID))    # None: from the beginning
        rows = await store.page(after, call.query.limit + 1)
        return page_reply(call, rows, key=lambda row: (row.created_at, row.order_id))
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar

import msgspec

from flashorder.infra.http.endpoint import Call, Page, Reply
from flashorder.kernel.errors import FieldError, InvalidInput

PAGE_ITEMS_MAX = 200
CURSOR_CHARACTERS_MAX = 1024
T = TypeVar("T")


class PageQuery(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What every list takes; a list with filters derives from it."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=PAGE_ITEMS_MAX)] = 50
    cursor: Annotated[str, msgspec.Meta(max_length=CURSOR_CHARACTERS_MAX)] | None = None


def write_cursor(key: Sequence[Any]) -> str:
    """The cursor for the item whose sort key is ``key`` (strings, numbers, UUIDs, times)."""
    return base64.urlsafe_b64encode(msgspec.json.encode(list(key))).rstrip(b"=").decode()


def read_cursor(cursor: str | None, types: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """The sort key in ``cursor``, one value per type; None where there is no cursor.

    Raises ``InvalidInput`` (``invalid_cursor``) for anything that ``write_cursor`` did not write
    for such types.
    """
    if cursor is None:
        return None
    try:
        encoded = cursor.encode("ascii")
        decoded = base64.b64decode(
            encoded + b"=" * (-len(encoded) % 4), altchars=b"-_", validate=True
        )
        key: tuple[Any, ...] = msgspec.json.decode(decoded, type=tuple[types])  # type: ignore[valid-type]
        # A NUL cannot stand in a PostgreSQL text, so no cursor of ours holds one.
        if any(isinstance(value, str) and "\0" in value for value in key):
            raise ValueError("NUL in a cursor")
    except (ValueError, binascii.Error, msgspec.DecodeError, RecursionError):
        raise InvalidInput(
            "This cursor was not given out by this list.",
            code="invalid_cursor",
            fields=(FieldError("/cursor", "invalid_cursor", "not a cursor of this list"),),
        ) from None
    return key


def page_reply(
    call: Call,
    items: Sequence[T],
    *,
    key: Callable[[T], Sequence[Any]],
    limit: int | None = None,
    show: Callable[[T], Any] = lambda item: item,
) -> Reply:
    """One page of ``items``, which holds up to ``limit + 1``: the last one tells of a next page.

    ``limit`` is that of the query unless given; ``key`` is the sort key that ``read_cursor`` will
    give back; ``show`` makes of an item what the body says.
    """
    size = call.query.limit if limit is None else limit
    shown = items[:size]
    if len(items) <= size:
        return Reply(200, Page(items=[show(item) for item in shown]))
    cursor = write_cursor(key(shown[-1]))
    url = call.request.rel_url.update_query(cursor=cursor)
    return Reply(
        200,
        Page(items=[show(item) for item in shown], next_cursor=cursor),
        {"Link": f'<{url}>; rel="next"'},
    )
