"""Token buckets: what they let through, what they forget, what they cost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashorder.infra.http.endpoint import PUBLIC, Call, Endpoint, Reply, Role
from flashorder.infra.http.rate_limits import RateLimit
from flashorder.kernel.errors import RateLimited
from tests.infra.http.serving import make_settings, served


@given(
    burst=st.integers(1, 20),
    per_second=st.sampled_from([0.5, 1.0, 7.0, 20.0]),
    gaps=st.lists(st.floats(0, 3), min_size=1, max_size=60),
)
def test_never_more_than_the_burst_and_the_rate(
    burst: int, per_second: float, gaps: list[float]
) -> None:
    now = 0.0
    limit = RateLimit("test", per_second, burst, clock=lambda: now)
    passed = []
    for gap in gaps:
        now += gap
        try:
            left = limit.take("a")
        except RateLimited as refusal:
            wait = refusal.retry_after_seconds
            assert wait is not None
            now += wait
            limit.take("a")  # the time that was named is enough
        else:
            assert 0 <= left < burst
        passed.append(now)
    for index, begin in enumerate(passed):
        for count, end in enumerate(passed[index:], start=1):
            assert count <= burst + (end - begin) * per_second + 1e-6


def test_a_full_bucket_tells_what_is_left_and_keys_are_apart() -> None:
    limit = RateLimit("test", 1.0, 3, clock=lambda: 0.0)
    assert [limit.take("a") for _ in range(3)] == [2, 1, 0]
    with pytest.raises(RateLimited):
        limit.take("a")
    assert limit.take("b") == 2


def test_only_so_many_buckets_are_kept() -> None:
    limit = RateLimit("test", 1.0, 1, buckets_max=10, clock=lambda: 0.0)
    for number in range(1000):
        limit.take(number)
    assert 0 < len(limit) <= 10


def test_a_bucket_that_is_kept_is_the_bucket_however_many_came_since() -> None:
    limit = RateLimit("test", 0.001, 2, buckets_max=10, clock=lambda: 0.0)
    kept = limit.bucket("a")
    limit.draw(kept)
    for number in range(100):
        limit.take(number)
    assert limit.take("a") == 0  # another token of the same buyer
    with pytest.raises(RateLimited):
        limit.draw(kept)


async def nothing(call: Call) -> Reply:
    return Reply(204)


OWN = Endpoint("GET", "/own", nothing, "s", "t", roles=frozenset(Role), replies={204: None})
OPEN = Endpoint("GET", "/open", nothing, "s", "t", roles=PUBLIC, replies={204: None})


async def test_a_buyer_is_told_what_is_left_and_then_to_wait() -> None:
    settings = make_settings(buyer_requests_burst=2, buyer_requests_per_second=0.1)
    async with served([OWN], settings=settings) as site:
        buyer = site.bearer()
        said = []
        for _ in range(3):
            async with site.client.get("/own", headers=buyer) as answer:
                said.append((answer.status, answer.headers["RateLimit"]))
                last = answer.headers, await answer.text()
        assert said == [
            (204, '"buyer";r=1;t=10'), (204, '"buyer";r=0;t=20'), (429, '"buyer";r=0;t=20'),
        ]  # fmt: skip
        headers, body = last
        assert '"code":"rate_limited"' in body
        assert '"detail":"Too many requests: slow down."' in body
        assert headers["RateLimit-Policy"] == '"buyer";q=2;w=20'
        assert 9 <= int(headers["Retry-After"]) <= 10
        # Another buyer and staff are not held up by the first.
        staff = site.bearer(Role.OPERATOR)
        for other in (site.bearer(), staff):
            async with site.client.get("/own", headers=other) as answer:
                assert answer.status == 204
                name = '"buyer"' if other is not staff else '"address"'
                assert answer.headers["RateLimit"].startswith(name)


async def test_an_address_is_limited_but_not_for_who_watches_over_the_service() -> None:
    settings = make_settings(address_requests_burst=2, address_requests_per_second=0.1)
    async with served([OPEN], settings=settings) as site:
        said = []
        for _ in range(3):
            async with site.client.get("/open") as answer:
                said.append((answer.status, answer.headers["RateLimit"]))
                assert answer.headers["RateLimit-Policy"] == '"address";q=2;w=20'
        assert said == [
            (204, '"address";r=1;t=10'), (204, '"address";r=0;t=20'), (429, '"address";r=0;t=20'),
        ]  # fmt: skip
        async with site.client.get("/healthz") as answer:
            assert answer.status == 200
            assert "RateLimit" not in answer.headers


async def test_calls_can_share_a_limit_of_their_own() -> None:
    attempts = RateLimit("sign-in", 0.1, 2)
    calls = [
        Endpoint("GET", path, nothing, "s", "t", replies={204: None}, limit=attempts)
        for path in ("/in", "/up")
    ]
    async with served([*calls, OPEN]) as site:
        said = []
        for path in ("/in", "/up", "/in", "/open"):
            async with site.client.get(path) as answer:
                said.append((answer.status, answer.headers.getall("RateLimit")[-1][:15]))
        assert said == [
            (204, '"sign-in";r=1;t'), (204, '"sign-in";r=0;t'), (429, '"sign-in";r=0;t'),
            (204, '"address";r=999'),
        ]  # fmt: skip


async def test_proxies_that_append_lines_of_their_own_are_believed_no_more() -> None:
    settings = make_settings(
        address_requests_burst=1, address_requests_per_second=0.1, trusted_proxies=1
    )
    async with served([OPEN], settings=settings) as site:
        for forged, status in (("9.9.9.9", b"204"), ("8.8.8.8", b"429")):
            said = await site.raw(
                b"GET /open HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Forwarded-For: "
                + forged.encode()
                + b"\r\nX-Forwarded-For: 1.1.1.1\r\n\r\n"
            )
            assert said.startswith(b"HTTP/1.1 " + status)


async def test_behind_a_proxy_the_address_is_what_the_proxy_saw() -> None:
    settings = make_settings(
        address_requests_burst=1, address_requests_per_second=0.1, trusted_proxies=1
    )
    async with served([OPEN], settings=settings) as site:
        said = []
        # The first entry is whatever the client made up; the last one the proxy wrote.
        for seen in ("9.9.9.9, 1.1.1.1", "8.8.8.8, 1.1.1.1", "1.1.1.1, 2.2.2.2"):
            async with site.client.get("/open", headers={"X-Forwarded-For": seen}) as answer:
                said.append(answer.status)
        assert said == [204, 429, 204]
