"""Bearer tokens: JSON Web Tokens (RFC 7519), HS256, of one issuer, which is this deployment.

PyJWT signs. Our own tokens are checked here (docs/adr/0007): their header is one constant, and a
token with any other (``alg`` none, RS256, a ``kid``) is refused before anything in it is read, so
there is no algorithm to be confused about. The signature is compared in its encoded form, so a
token has one spelling. A token once checked is remembered until it expires, under that spelling.
"""

from __future__ import annotations

import base64
import hmac
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import jwt
import msgspec

from flashorder.infra.http.endpoint import Caller
from flashorder.infra.recent import Recent
from flashorder.kernel.errors import Unauthenticated
from flashorder.kernel.roles import Role
from flashorder.settings import Settings

TOKEN_CHARACTERS_MAX: Final = 2048
_SCHEME: Final = "Bearer "
_HEADER: Final = base64.urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT"}').rstrip(b"=")


class Claims(msgspec.Struct):
    """What a token says; unknown claims are ignored, as RFC 7519 (section 4) wants it."""

    iss: str
    aud: str
    sub: uuid.UUID
    role: Role
    sid: str
    jti: str
    exp: int
    iat: int
    nbf: int = 0


_read_claims = msgspec.json.Decoder(Claims).decode


@dataclass(frozen=True, slots=True)
class TokenSigner:
    """Signs tokens and reads them back. ``key`` is 32 bytes; times are Unix seconds."""

    key: bytes
    issuer: str
    audience: str
    lifetime_seconds: int

    @classmethod
    def of(cls, settings: Settings) -> TokenSigner:
        """The signer of this deployment."""
        return cls(
            settings.derived_key("tokens"),
            settings.token_issuer,
            settings.token_audience,
            settings.access_token_seconds,
        )

    def sign(
        self,
        account_id: uuid.UUID,
        role: Role,
        session_id: str,
        *,
        now_seconds: float | None = None,
        lifetime_seconds: int | None = None,
    ) -> str:
        """A token for ``account_id``, valid for the lifetime from now."""
        issued = int(time.time() if now_seconds is None else now_seconds)
        lifetime = self.lifetime_seconds if lifetime_seconds is None else lifetime_seconds
        claims = {
            "iss": self.issuer,
            "aud": self.audience,
            "sub": str(account_id),
            "role": str(role),
            "sid": session_id,
            "jti": uuid.uuid4().hex,
            "exp": issued + lifetime,
            "iat": issued,
        }
        return jwt.encode(claims, self.key, algorithm="HS256")

    def read(self, token: str, now_seconds: float) -> Claims:
        """The claims of a token that holds; ``Unauthenticated`` tells why one does not."""
        try:
            encoded = token.encode("ascii")
        except UnicodeEncodeError:
            raise _invalid() from None
        signed, _, signature = encoded.rpartition(b".")
        header, _, payload = signed.partition(b".")
        if (
            len(encoded) > TOKEN_CHARACTERS_MAX
            or header != _HEADER
            or not hmac.compare_digest(signature, self._signature(signed))
        ):
            raise _invalid()
        try:
            claims = _read_claims(base64.urlsafe_b64decode(payload + b"=" * (-len(payload) % 4)))
        except (ValueError, msgspec.DecodeError):
            raise _invalid() from None
        if claims.iss != self.issuer or claims.aud != self.audience or claims.nbf > now_seconds:
            raise _invalid()
        if claims.exp <= now_seconds:
            raise _expired()
        return claims

    def _signature(self, signed: bytes) -> bytes:
        return base64.urlsafe_b64encode(hmac.digest(self.key, signed, "sha256")).rstrip(b"=")


class Authenticator:
    """From the Authorization header to the caller. One per process, not shared between threads."""

    def __init__(
        self,
        signer: TokenSigner,
        *,
        remembered_max: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._signer = signer
        self._clock = clock
        self._remembered: Recent[str, Caller] = Recent(remembered_max)
        self._revoked: frozenset[str] = frozenset()

    @classmethod
    def of(cls, settings: Settings) -> Authenticator:
        """The authenticator of this deployment."""
        return cls(TokenSigner.of(settings), remembered_max=settings.remembered_tokens_max)

    @property
    def remembered_count(self) -> int:
        """How many verified tokens are remembered."""
        return len(self._remembered)

    def replace_revoked(self, session_ids: Iterable[str]) -> None:
        """From now on, tokens of exactly these sessions are refused although not expired."""
        self._revoked = frozenset(session_ids)

    def revoke(self, session_id: str) -> None:
        """Refuse this session at once; the next ``replace_revoked`` brings it again."""
        self._revoked |= {session_id}

    def caller(self, authorization: str | None) -> Caller:
        """Who calls; ``Unauthenticated`` as ``unauthenticated``, ``token_invalid``/``_expired``."""
        if authorization is None:
            raise Unauthenticated()
        now_seconds = self._clock()
        caller = self._remembered.get(authorization)
        if caller is None:
            authorization = _SCHEME + _token_in(authorization)
            caller = self._remembered.get(authorization) or self._verified(
                authorization, now_seconds
            )
        if caller.expires_at_unix <= now_seconds:
            self._remembered.forget(authorization)
            raise _expired()
        if self._revoked and caller.session_id in self._revoked:
            raise _invalid("This session was ended.")
        return caller

    def _verified(self, authorization: str, now_seconds: float) -> Caller:
        claims = self._signer.read(authorization[len(_SCHEME) :], now_seconds)
        caller = Caller(claims.sub, claims.role, claims.sid, claims.exp)
        self._remembered.put(authorization, caller)
        return caller


def _token_in(authorization: str) -> str:
    """What follows the scheme and one space (RFC 6750, section 2.1); more space is not removed.

    Otherwise one token would have as many spellings as there are spaces, each to be remembered.
    """
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer":
        raise Unauthenticated("Only bearer tokens are accepted here.")
    return token


def _invalid(detail: str = "The bearer token is not valid here.") -> Unauthenticated:
    return Unauthenticated(detail, code="token_invalid")


def _expired() -> Unauthenticated:
    return Unauthenticated("The bearer token has expired: get a new one.", code="token_expired")
