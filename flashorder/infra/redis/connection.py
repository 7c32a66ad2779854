"""Connections to the store, and the translation of its failures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    ClusterDownError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from flashorder.infra.transports import is_closed_transport
from flashorder.kernel.errors import Misconfigured, StoreUnavailable

RETRY_AFTER_SECONDS = 1.0


def connect_redis(
    url: str,
    *,
    timeout_seconds: float = 2.0,
    connections_max: int = 16,
) -> Redis:
    """A client for ``url`` (``redis://``, ``rediss://``, ``unix://``); replies are bytes.

    Nothing is retried below us: whether a lost answer may be asked for again is the caller's to
    know. Commands time out after ``timeout_seconds``; pass blocking reads a client of their own.
    ``Misconfigured`` where an option in the URL has no value that the client knows.
    """
    try:
        return Redis.from_url(
            url,
            decode_responses=False,
            socket_timeout=timeout_seconds,
            socket_connect_timeout=timeout_seconds,
            retry=Retry(NoBackoff(), 0),
            max_connections=connections_max,
            protocol=3,
        )
    except ValueError as error:
        # Without its cause: that one may quote the URL, which has a password.
        raise Misconfigured(f"FLASHORDER_REDIS_URL: {_wrong_part(error)}") from None


def _wrong_part(error: ValueError) -> str:
    """What the client says of an option that it cannot read: it names no more than that."""
    said = str(error)
    return said if said.startswith("Invalid value for") else "not a URL that the client can read"


_WILL_NOT = ("MISCONF", "NOREPLICAS", "BUSY ", "UNKILLABLE", "LOADING", "TRYAGAIN")
"""How a store begins its answer when it is there and will not do it: a full disk, too few replicas,
a script that does not end, …"""


@contextmanager
def store_failures() -> Iterator[None]:
    """Turn what the client raises when the store is away, or will not do it, into one error."""
    try:
        yield
    except (
        RedisConnectionError,  # includes BusyLoading and Authentication
        RedisTimeoutError,
        OutOfMemoryError,
        ReadOnlyError,
        NoPermissionError,
        ClusterDownError,  # includes MasterDown
        OSError,
    ) as error:
        raise StoreUnavailable(retry_after_seconds=RETRY_AFTER_SECONDS) from error
    except RuntimeError as error:
        if not is_closed_transport(error):
            raise
        raise StoreUnavailable(retry_after_seconds=RETRY_AFTER_SECONDS) from error
    except ResponseError as error:
        if not str(error).startswith(_WILL_NOT):
            raise
        raise StoreUnavailable(retry_after_seconds=RETRY_AFTER_SECONDS) from error
