"""A client that connects where it is permitted, follows nothing and reads a bounded answer."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from flashorder.infra.http.egress.policy import EgressPolicy, UrlRefused

ANSWER_BYTES_MAX: Final = 4096
HEAD_LINE_BYTES_MAX: Final = 8190
KEEPALIVE_SECONDS: Final = 15.0
# Looking up a name blocks a thread for as long as its servers are silent; these threads are of no
# use to anybody else, so that nobody else waits for them.
LOOKUPS_AT_ONCE_MAX: Final = 32


class Failure(StrEnum):
    """Why a call has no answer."""

    BLOCKED = "blocked"
    TIMED_OUT = "timed_out"
    UNREACHABLE = "unreachable"


class EgressFailed(Exception):
    """No answer came; ``detail`` says why, and no address."""

    def __init__(self, failure: Failure, detail: str) -> None:
        super().__init__(detail)
        self.failure = failure
        self.detail = detail


@dataclass(frozen=True, slots=True)
class EgressAnswer:
    """What was said; ``body`` is the beginning, at most ``ANSWER_BYTES_MAX`` bytes of it."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class AddressRefused(OSError):
    """A name leads to an address that may not be called."""


class Egress:
    """Made by ``open_egress``. A call has its own bound in time, from the look-up to the body."""

    def __init__(self, session: aiohttp.ClientSession, policy: EgressPolicy) -> None:
        self._session = session
        self.policy = policy

    async def post(
        self, url: str, *, body: bytes, headers: Mapping[str, str], timeout_seconds: float
    ) -> EgressAnswer:
        """POST ``body``; whatever the status, it is an answer. Raises ``EgressFailed``."""
        try:
            checked = self.policy.checked_url(url)
            async with (
                asyncio.timeout(timeout_seconds),
                self._session.post(
                    checked, data=body, headers=headers, allow_redirects=False
                ) as answer,
            ):
                said = await _beginning(answer)
                return EgressAnswer(answer.status, answer.headers, said)
        except UrlRefused as error:
            raise EgressFailed(Failure.BLOCKED, error.detail) from error
        except TimeoutError as error:
            raise EgressFailed(
                Failure.TIMED_OUT, f"no whole answer within {timeout_seconds:g} s"
            ) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _failed(error) from error


@asynccontextmanager
async def open_egress(
    policy: EgressPolicy,
    *,
    connections_max: int,
    user_agent: str,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Egress]:
    """A client that is closed at the end. Nothing of the environment (proxies, netrc) is read.

    ``tls`` is what servers' certificates are held against, the machine's own authorities if None.
    """
    lookups = ThreadPoolExecutor(LOOKUPS_AT_ONCE_MAX, "egress-lookup")
    connector = aiohttp.TCPConnector(
        limit=connections_max,
        ssl=tls if tls is not None else True,
        resolver=GuardedResolver(policy, lookups),
        use_dns_cache=False,
        socket_factory=_guarded_sockets(policy),
        keepalive_timeout=KEEPALIVE_SECONDS,
    )
    try:
        async with aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": user_agent, "Accept-Encoding": "identity"},
            auto_decompress=False,
            trust_env=False,
            timeout=aiohttp.ClientTimeout(total=None),
            max_line_size=HEAD_LINE_BYTES_MAX,
            max_field_size=HEAD_LINE_BYTES_MAX,
        ) as session:
            yield Egress(session, policy)
    finally:
        lookups.shutdown(wait=False, cancel_futures=True)


class GuardedResolver(AbstractResolver):
    """Looks names up; a name one of whose addresses is refused is refused altogether."""

    def __init__(self, policy: EgressPolicy, lookups: ThreadPoolExecutor) -> None:
        self._policy = policy
        self._lookups = lookups

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Every address of ``host``; ``AddressRefused``, or what the look-up raises."""
        found = await asyncio.get_running_loop().run_in_executor(
            self._lookups, self.look_up, host, port, family
        )
        results: list[ResolveResult] = []
        for address_family, _, proto, _, address in found:
            ip = str(address[0])
            if not self._policy.permits(ip):
                raise AddressRefused("the name leads to an address that may not be called")
            results.append(
                ResolveResult(
                    hostname=host,
                    host=ip,
                    port=port,
                    family=address_family,
                    proto=proto,
                    flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
                )
            )
        if not results:
            raise OSError("the name leads nowhere")
        return results

    def look_up(self, host: str, port: int, family: socket.AddressFamily) -> list[Any]:
        """What the machine's resolver says, in a thread of its own."""
        return socket.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)

    async def close(self) -> None:
        """Nothing to close: the threads belong to who made them."""


def _guarded_sockets(policy: EgressPolicy) -> Any:
    """Makes the socket of each connection, once its very address has been asked about."""

    def make(info: tuple[Any, ...]) -> socket.socket:
        family, kind, proto, _, address = info
        if not policy.permits(str(address[0])):
            raise AddressRefused("this address may not be called")
        return socket.socket(family, kind, proto)

    return make


async def _beginning(answer: aiohttp.ClientResponse) -> bytes:
    """As much of the body as is wanted; a connection on which more is to come is given up."""
    said = b""
    while len(said) < ANSWER_BYTES_MAX:
        chunk = await answer.content.read(ANSWER_BYTES_MAX - len(said))
        if not chunk:
            return said
        said += chunk
    answer.close()
    return said


def _failed(error: BaseException) -> EgressFailed:
    """What became of a call without an answer; the words name no address."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, AddressRefused):
            return EgressFailed(Failure.BLOCKED, str(cause))
        cause = getattr(cause, "os_error", None) or cause.__cause__ or cause.__context__
    reasons: list[tuple[tuple[type[BaseException], ...], str]] = [
        ((aiohttp.ClientConnectorCertificateError,), "its certificate is not trusted"),
        ((aiohttp.ClientConnectorSSLError, ssl.SSLError), "TLS could not be agreed upon"),
        ((aiohttp.ClientConnectorDNSError,), "its name could not be looked up"),
        ((aiohttp.ClientConnectorError,), "it takes no connection"),
        ((aiohttp.ServerDisconnectedError, ConnectionError), "it closed the connection"),
        ((aiohttp.ClientResponseError, aiohttp.ClientPayloadError), "its answer is no HTTP"),
    ]
    for kinds, detail in reasons:
        if isinstance(error, kinds):
            return EgressFailed(Failure.UNREACHABLE, detail)
    return EgressFailed(Failure.UNREACHABLE, f"the call failed ({type(error).__name__})")
