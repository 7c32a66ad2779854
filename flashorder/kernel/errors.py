"""One tree of failures.

Expected outcomes of a purchase (sold out, limit reached) are values, not exceptions; what stands
here is what went wrong with a call. Each class is one kind of answer to the caller, each instance
carries a stable ``code`` for programs and a ``detail`` for people. One place turns them into RFC
9457 problem details (``flashorder.infra.http.problems``), one into exit codes (``flashorder.cli``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class FieldError:
    """One field that was refused: ``pointer`` is a JSON pointer into the body ("/quantity")."""

    pointer: str
    code: str
    detail: str


class FlashorderError(Exception):
    """Something went wrong inside flashorder."""

    default_code: ClassVar[str] = "internal_error"

    def __init__(
        self,
        detail: str | None = None,
        *,
        code: str | None = None,
        fields: tuple[FieldError, ...] = (),
        retry_after_seconds: float | None = None,
    ) -> None:
        self.detail = detail or (type(self).__doc__ or "").strip().splitlines()[0]
        self.code = code or self.default_code
        self.fields = fields
        self.retry_after_seconds = retry_after_seconds
        super().__init__(self.detail)


class MalformedRequest(FlashorderError):
    """The request could not be read."""

    default_code = "malformed_request"


class InvalidInput(FlashorderError):
    """The request was read, but a value in it is not acceptable."""

    default_code = "invalid_input"


class Unauthenticated(FlashorderError):
    """A valid bearer token is required."""

    default_code = "unauthenticated"


class Forbidden(FlashorderError):
    """The caller's role does not permit this."""

    default_code = "forbidden"


class NotFound(FlashorderError):
    """There is no such thing, or it belongs to somebody else."""

    default_code = "not_found"


class Conflict(FlashorderError):
    """The state of the thing does not permit this now."""

    default_code = "conflict"


class InvalidState(Conflict):
    """The thing has moved on: this transition is not open from its present state."""

    default_code = "invalid_state"


class PreconditionFailed(FlashorderError):
    """The thing was changed since it was read (If-Match does not hold)."""

    default_code = "precondition_failed"


class Gone(FlashorderError):
    """It was there and is over."""

    default_code = "gone"


class Locked(FlashorderError):
    """It is paused by an operator."""

    default_code = "locked"


class TooEarly(FlashorderError):
    """It has not begun yet."""

    default_code = "too_early"


class PayloadTooLarge(FlashorderError):
    """The body is larger than accepted."""

    default_code = "payload_too_large"


class UnsupportedMediaType(FlashorderError):
    """The content type is not accepted here."""

    default_code = "unsupported_media_type"


class RateLimited(FlashorderError):
    """Too many requests: slow down."""

    default_code = "rate_limited"


class Unavailable(FlashorderError):
    """A part that this needs is away; try again later."""

    default_code = "unavailable"


class StoreUnavailable(Unavailable):
    """The store that decides on stock cannot be reached."""

    default_code = "store_unavailable"


class DatabaseUnavailable(Unavailable):
    """The database cannot be reached."""

    default_code = "database_unavailable"


class Overloaded(Unavailable):
    """More is asked at once than can be answered in time."""

    default_code = "overloaded"


class ProviderUnavailable(Unavailable):
    """A payment provider or carrier did not answer in time."""

    default_code = "provider_unavailable"


class Misconfigured(FlashorderError):
    """The settings, the machine or a store are not as promised."""

    default_code = "misconfigured"
