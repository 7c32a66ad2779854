"""What a room says about one HTTP call; binding, checking and documenting it is done here once.

A room's ``routes.py`` returns ``Endpoint`` records. From the same record come the aiohttp route,
the authentication, the decoding of body and query (unknown fields refused), the idempotent replay
and the OpenAPI operation, so the document cannot drift from the router.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import msgspec
from aiohttp import web

from flashorder.kernel.errors import NotFound
from flashorder.kernel.identifiers import parse_id
from flashorder.kernel.money import AMOUNT_MAX
from flashorder.kernel.roles import Role

if TYPE_CHECKING:
    from flashorder.infra.http.rate_limits import Bucket, RateLimit

__all__ = [
    "ANY_ROLE",
    "PUBLIC",
    "Call",
    "Caller",
    "Endpoint",
    "MoneyBody",
    "Page",
    "PriceBody",
    "Reply",
    "Role",
]

PUBLIC: frozenset[Role] = frozenset()
ANY_ROLE = frozenset(Role)


@dataclass(slots=True)
class Caller:
    """Who a verified token speaks for. ``session_id`` ends with DELETE /v1/tokens/current.

    One is made for each token and remembered with it, so it keeps what would have to be looked up
    or worked out for each request: the id as bytes, and the ``bucket`` of the buyer's limit.
    """

    account_id: uuid.UUID
    role: Role
    session_id: str
    expires_at_unix: int
    account_bytes: bytes = field(init=False, repr=False, compare=False)
    bucket: Bucket | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.account_bytes = self.account_id.bytes


class Call(msgspec.Struct, frozen=True):
    """One request, checked: ``body`` and ``query`` are instances of the endpoint's types."""

    # A struct, because one is made for each request and a frozen dataclass costs half a µs.
    request_or_none: web.Request | None
    path: Mapping[str, str]
    body: Any = None
    query: Any = None
    caller_or_none: Caller | None = None
    idempotency_key: str | None = None

    @property
    def request(self) -> web.Request:
        """The request; not for calls that are direct."""
        assert self.request_or_none is not None, "a direct call has no request"
        return self.request_or_none

    @property
    def caller(self) -> Caller:
        """The caller; only for endpoints that name roles."""
        assert self.caller_or_none is not None, "a public endpoint has no caller"
        return self.caller_or_none

    def path_id(self, name: str) -> uuid.UUID:
        """The id in the path; what is no id cannot exist, so it is a 404."""
        parsed = parse_id(self.path[name])
        if parsed is None:
            raise NotFound(code=f"{name.removesuffix('_id')}_not_found")
        return parsed


@dataclass(frozen=True, slots=True)
class Reply:
    """``body`` is encoded as JSON by msgspec (Struct, dict or ``msgspec.Raw``); None: no body."""

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


Settle: TypeAlias = Callable[[web.StreamResponse | Exception], None]
"""Takes the answer to a direct call, or the failure that becomes one; to be called once."""
DirectHandler: TypeAlias = Callable[[Call, Settle], bool]
"""Sees to it that the call is settled, now or later. False: nothing is done yet, and the call is to
be awaited by its ``handler``. It is a plain function: what it raises is the failure."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One call of the contract.

    ``replies`` maps each success status to the type of its body (None: no body); ``problems`` maps
    each error status to the codes it can carry, beside those that the mechanism itself gives (400,
    401, 403, 413, 415, 422, 429, 503). A POST of a signed-in
    caller that carries an Idempotency-Key gets its first answer again, from PostgreSQL;
    ``idempotent`` demands the key. The reserve path has its own replay inside the script and says
    ``idempotency_key=True`` alone. A handler may also return a ``StreamResponse`` that it has
    written itself.

    ``content_type`` is what a request body must be (``*/*``: anything), ``reply_content_type`` what
    the answer is; a type other than JSON wants ``bytes`` as the reply's body. ``raw_body`` hands
    over the bytes as they came. ``body_bytes_max`` overrides the settings' bound for this call.

    ``headers`` names what an answer that succeeds says in its head beside what follows from the
    rest of the record (the limits, ``Link`` of a list, ``Retry-After`` of a 202, and so on). A call
    that may answer 412 reads If-Match.

    ``limit`` is counted per address beside the limits that every call has; calls may share one.
    ``operational`` calls are for whoever watches over the service: nothing limits them, and they
    answer whatever is away.
    ``direct`` is another handler of the call, for a request that has arrived whole: it is found
    before the router is asked, and runs without a task (``infra/http/direct.py``).
    """

    method: str
    path: str
    handler: Callable[[Call], Awaitable[Reply | web.StreamResponse]]
    summary: str
    tag: str
    roles: frozenset[Role] = PUBLIC
    body: type[msgspec.Struct] | None = None
    query: type[msgspec.Struct] | None = None
    replies: Mapping[int, Any] = field(default_factory=lambda: {200: None})
    problems: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    idempotent: bool = False
    idempotency_key: bool = False
    raw_body: bool = False
    content_type: str = "application/json"
    reply_content_type: str = "application/json"
    body_bytes_max: int | None = None
    headers: tuple[str, ...] = ()
    limit: RateLimit | None = None
    operational: bool = False
    direct: DirectHandler | None = None
    description: str = ""

    @property
    def reads_body(self) -> bool:
        """Whether a body is looked at, be it only to refuse it."""
        return self.method != "GET" or self.body is not None

    @property
    def demands_key(self) -> bool:
        """Whether the call is refused without an Idempotency-Key."""
        return self.idempotent or self.idempotency_key

    @property
    def replays(self) -> bool:
        """Whether an Idempotency-Key, demanded or not, is remembered with the first answer."""
        keyed = self.method == "POST" and bool(self.roles) and not self.idempotency_key
        return self.idempotent or keyed


class MoneyBody(msgspec.Struct, forbid_unknown_fields=True):
    """Money on the wire: minor units and ISO 4217 code."""

    amount: int
    currency: str


class PriceBody(msgspec.Struct, forbid_unknown_fields=True):
    """Money that comes in as a price: minor units and ISO 4217 code."""

    amount: Annotated[int, msgspec.Meta(ge=0, le=AMOUNT_MAX)]
    currency: Annotated[str, msgspec.Meta(pattern="^[A-Z]{3}$")]


class Page(msgspec.Struct):
    """A page of a list; ``items`` is narrowed by each endpoint's own type."""

    items: list[Any]
    next_cursor: str | None = None
