"""Rate limits in memory: a bounded number of token buckets, one number each.

The generic cell rate algorithm (ITU-T I.371, annex A), which is a token bucket that keeps only the
time at which it will be full again. A bucket that is full says nothing, so forgetting one that was
long untouched costs nobody anything. With several workers each counts for itself: a caller whose
connections spread over N workers has up to N times the rate.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable
from typing import Final
from weakref import WeakValueDictionary

from multidict import CIMultiDictProxy

from flashorder.infra.http.endpoint import Caller
from flashorder.infra.recent import Recent
from flashorder.kernel.errors import RateLimited
from flashorder.kernel.roles import Role
from flashorder.settings import Settings

BUCKETS_MAX: Final = 200_000
# The sum of ``burst`` intervals is not exactly the window.
_GRACE_SECONDS: Final = 1e-9


class Bucket:
    """What one caller has left: when the bucket is full again, by the clock of its limit."""

    __slots__ = ("__weakref__", "full_at")

    def __init__(self) -> None:
        self.full_at = -math.inf


class Peer:
    """The other end of a connection; ``bucket`` is its address's, once it was looked up."""

    __slots__ = ("address", "bucket")

    def __init__(self, address: str) -> None:
        self.address = address
        self.bucket: Bucket | None = None


class RateLimit:
    """``per_second`` requests a second on the average, ``burst`` at once.

    ``name`` is what callers know the limit by ("buyer").
    """

    def __init__(
        self,
        name: str,
        per_second: float,
        burst: int,
        *,
        buckets_max: int = BUCKETS_MAX,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.burst = burst
        self._interval_seconds = 1 / per_second
        self._window_seconds = burst / per_second
        self._clock = clock
        self._buckets: Recent[Hashable, Bucket] = Recent(buckets_max)
        # One that somebody keeps must be found again, however long ago it was last looked up.
        self._kept: WeakValueDictionary[Hashable, Bucket] = WeakValueDictionary()

    def __len__(self) -> int:
        return len(self._buckets)

    def bucket(self, key: Hashable) -> Bucket:
        """The bucket of ``key``; whoever keeps it saves looking it up again."""
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._kept.get(key)
            if bucket is None:
                bucket = self._kept[key] = Bucket()
            self._buckets.put(key, bucket)
        return bucket

    def take(self, key: Hashable) -> int:
        """Take one request of ``key``; how many are left. ``LimitReached`` when there was none."""
        return self.left(self.draw(self.bucket(key)))

    def draw(self, bucket: Bucket) -> float:
        """Take one request from ``bucket``; what is left, in seconds. ``LimitReached``."""
        now = self._clock()
        full_at = bucket.full_at
        full_at = max(full_at, now)
        full_at += self._interval_seconds
        spare_seconds = self._window_seconds - (full_at - now)
        if spare_seconds < -_GRACE_SECONDS:
            raise LimitReached(self, -spare_seconds)
        bucket.full_at = full_at
        return spare_seconds

    def left(self, spare_seconds: float) -> int:
        """Requests that so many seconds of the bucket are good for."""
        return int((spare_seconds + _GRACE_SECONDS) / self._interval_seconds)

    def header_lines(self, left: int) -> str:
        """The header lines that say how many are left (draft-ietf-httpapi-ratelimit-headers).

        ``q`` and ``r`` are requests, ``w`` and ``t`` seconds.
        """
        return (
            f'RateLimit: "{self.name}";r={left};'
            f"t={math.ceil((self.burst - left) * self._interval_seconds)}\r\n"
            f'RateLimit-Policy: "{self.name}";q={self.burst};'
            f"w={max(1, math.ceil(self._window_seconds))}\r\n"
        )


class LimitReached(RateLimited):
    """Too many requests: slow down."""

    def __init__(self, limit: RateLimit, retry_after_seconds: float) -> None:
        super().__init__(retry_after_seconds=retry_after_seconds)
        self.header_lines = limit.header_lines(0)


class RateLimits:
    """The limits of the front: per address for everybody, per buyer for shoppers.

    A caller hears of the limit that binds first: a shopper of the buyer's, everybody else of the
    address's.
    """

    def __init__(self, settings: Settings) -> None:
        self._addresses = RateLimit(
            "address", settings.address_requests_per_second, settings.address_requests_burst
        )
        self._buyers = RateLimit(
            "buyer", settings.buyer_requests_per_second, settings.buyer_requests_burst
        )
        # A shopper's answers are the many: their lines are made once.
        self._buyer_lines = tuple(map(self._buyers.header_lines, range(self._buyers.burst)))
        self._trusted_proxies = settings.trusted_proxies

    def take_address(self, headers: CIMultiDictProxy[str], peer: Peer) -> float:
        """Count a request for its address; what is left, in seconds."""
        if self._trusted_proxies:
            bucket = self._addresses.bucket(address_of(headers, peer, self._trusted_proxies))
        else:
            bucket = peer.bucket or self._bucket_of(peer)
        return self._addresses.draw(bucket)

    def _bucket_of(self, peer: Peer) -> Bucket:
        peer.bucket = self._addresses.bucket(peer.address)
        return peer.bucket

    def take_attempt(self, headers: CIMultiDictProxy[str], peer: Peer, limit: RateLimit) -> str:
        """Count a request for a limit of the call's own; the header lines of what is left."""
        return limit.header_lines(limit.take(address_of(headers, peer, self._trusted_proxies)))

    def address_lines(self, left_seconds: float) -> str:
        """The header lines for whoever is no shopper."""
        return self._addresses.header_lines(self._addresses.left(left_seconds))

    def take_caller(self, caller: Caller, address_left_seconds: float) -> str:
        """Count the request for its buyer; the header lines that tell what is left."""
        if caller.role is not Role.SHOPPER:
            return self.address_lines(address_left_seconds)
        buyers = self._buyers
        bucket = caller.bucket
        if bucket is None:
            bucket = caller.bucket = buyers.bucket(caller.account_id)
        return self._buyer_lines[buyers.left(buyers.draw(bucket))]


def address_of(headers: CIMultiDictProxy[str], peer: Peer, trusted_proxies: int) -> str:
    """Where a request comes from: the peer, or what the outermost trusted proxy saw as its peer.

    Each proxy appends the address it sees to X-Forwarded-For; only the last ``trusted_proxies``
    entries were written by ours, everything before them by whoever sent the request. A proxy may
    append a line of its own, so the entries are those of all lines (RFC 9110, section 5.3).
    """
    if trusted_proxies:
        hops = ",".join(headers.getall("X-Forwarded-For", ())).split(",")
        if len(hops) >= trusted_proxies and (address := hops[-trusted_proxies].strip()):
            return address
    return peer.address
