"""A well-mannered client never asks again sooner than it was told to."""

from __future__ import annotations

import random
import time

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from loadtest.pauses import pause_seconds, retry_after_seconds
from loadtest.shopper import Pays, Plan, Shop, Shopper


def pauses(backoff: float, asked: float, **more: float) -> list[float]:
    chance = random.Random(1)
    return [pause_seconds(backoff, asked, chance, **more) for _ in range(500)]


@pytest.mark.parametrize(("backoff", "asked"), [(0.05, 2.0), (2.0, 1.0), (0.05, 60.0)])
def test_what_was_asked_is_honoured_with_jitter_upwards(backoff: float, asked: float) -> None:
    longest = max(backoff, asked)
    found = pauses(backoff, asked)
    assert min(found) >= longest
    assert longest * 1.3 < max(found) <= longest * 1.5


def test_the_impatient_come_back_too_soon() -> None:
    found = pauses(0.05, 60.0, patience_seconds=5.0)
    assert min(found) >= 5.0
    assert max(found) <= 7.5


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        (None, 0), ({}, 0), ({"Retry-After": "3"}, 3), ({"Retry-After": "-1"}, 0),
        ({"Retry-After": "inf"}, 0), ({"Retry-After": "Fri, 20 Nov 2026 07:00:00 GMT"}, 0),
    ],
)  # fmt: skip
def test_retry_after_is_read(headers: dict[str, str] | None, seconds: float) -> None:
    assert retry_after_seconds(headers) == seconds


async def test_a_shopper_who_was_told_to_wait_waits() -> None:
    asked_at: list[float] = []

    async def busy_once(_: web.Request) -> web.Response:
        asked_at.append(time.monotonic())
        if len(asked_at) == 1:
            return web.json_response({}, status=429, headers={"Retry-After": "0.5"})
        return web.json_response({"items": []})

    app = web.Application()
    app.router.add_get("/v1/sales/{sale_id}", busy_once)
    plan = Plan((), 1, Pays.NEVER, double_clicks=False, comes_back=False)
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        now = time.monotonic()
        shop = Shop(session, str(server.make_url("")).rstrip("/"), "S", now, now + 10, now, 1.0)
        visit = await Shopper(shop, "token", plan, random.Random(4)).go()
    assert visit.status == "left without"
    assert asked_at[1] - asked_at[0] >= 0.5
