"""Rate limits in memory: a bounded number of token buckets, one number each.

The generic cell rate algorithm (ITU-T I.371, annex A), which is a token bucket that keeps only the
time at which it will be full again. A bucket that is full says nothing, so forgetting the longest
untouched one costs nobody anything. With several workers each counts for itself: a caller whose
connections spread over N workers has up to N times the rate.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Final

from aiohttp import web

from flashorder.infra.http.endpoint import Caller
from flashorder.kernel.errors import RateLimited
from flashorder.kernel.roles import Role
from flashorder.settings import Settings

BUCKETS_MAX: Final = 200_000
# The sum of ``burst`` intervals is not exactly the window.
_GRACE_SECONDS: Final = 1e-9


class RateLimit:
    """``per_second`` requests a second on the average, ``burst`` at once."""

    def __init__(
        self,
        per_second: float,
        burst: int,
        *,
        buckets_max: int = BUCKETS_MAX,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.burst = burst
        self._interval_seconds = 1 / per_second
        self._window_seconds = burst / per_second
        self._buckets_max = buckets_max
        self._clock = clock
        self._full_at: OrderedDict[Hashable, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, key: Hashable) -> int:
        """Take one request of ``key``; how many are left. ``RateLimited`` when there was none."""
        now = self._clock()
        full_at = self._full_at.get(key, now)
        full_at = (full_at if full_at > now else now) + self._interval_seconds
        spare_seconds = self._window_seconds - (full_at - now)
        if spare_seconds < -_GRACE_SECONDS:
            raise RateLimited(retry_after_seconds=-spare_seconds)
        self._full_at[key] = full_at
        self._full_at.move_to_end(key)
        if len(self._full_at) > self._buckets_max:
            self._full_at.popitem(last=False)
        return int((spare_seconds + _GRACE_SECONDS) / self._interval_seconds)

    def header_lines(self, name: str) -> tuple[str, ...]:
        """The header lines for each number of requests left (draft-ietf-httpapi-ratelimit-headers).

        ``q`` and ``r`` are requests, ``w`` and ``t`` seconds.
        """
        window = max(1, math.ceil(self._window_seconds))
        policy = f'RateLimit-Policy: "{name}";q={self.burst};w={window}\r\n'
        return tuple(
            f'RateLimit: "{name}";r={left};'
            f"t={math.ceil((self.burst - left) * self._interval_seconds)}\r\n{policy}"
            for left in range(self.burst + 1)
        )


class RateLimits:
    """The limits of the front: per address for everybody, per buyer for shoppers."""

    def __init__(self, settings: Settings) -> None:
        self._addresses = RateLimit(
            settings.address_requests_per_second, settings.address_requests_burst
        )
        self._buyers = RateLimit(settings.buyer_requests_per_second, settings.buyer_requests_burst)
        self._buyer_lines = self._buyers.header_lines("buyer")
        self._trusted_proxies = settings.trusted_proxies

    def take_address(self, request: web.Request) -> None:
        """Count the request for its address."""
        self._addresses.take(address_of(request, self._trusted_proxies))

    def take_caller(self, caller: Caller) -> str:
        """Count the request for its buyer; the header lines that tell what is left."""
        if caller.role is not Role.SHOPPER:
            return ""
        try:
            return self._buyer_lines[self._buyers.take(caller.account_id.int)]
        except RateLimited as refusal:
            raise BuyerLimited(self._buyer_lines[0], refusal) from None


class BuyerLimited(RateLimited):
    """Too many requests of this buyer; ``lines`` are the header lines that say so."""

    def __init__(self, lines: str, refusal: RateLimited) -> None:
        super().__init__(retry_after_seconds=refusal.retry_after_seconds)
        self.lines = lines


def address_of(request: web.Request, trusted_proxies: int) -> str:
    """Where a request comes from: the peer, or what the outermost trusted proxy saw as its peer.

    Each proxy appends the address it sees to X-Forwarded-For; only the last ``trusted_proxies``
    entries were written by ours, everything before them by whoever sent the request.
    """
    if trusted_proxies:
        hops = request.headers.get("X-Forwarded-For", "").split(",")
        if len(hops) >= trusted_proxies and (address := hops[-trusted_proxies].strip()):
            return address
    return request.remote or ""
