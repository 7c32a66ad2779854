"""Server-sent events: nothing missed, nothing twice, and an end to everything."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest_asyncio

from flashorder.kernel.identifiers import new_id
from tests.consumer.shop import Bought
from tests.orders.desk import Desk
from tests.orders.site import Site, serving
from tests.orders.test_routes import Memory


@pytest_asyncio.fixture
async def memory() -> Memory:
    return Memory()


@pytest_asyncio.fixture
async def site(desk: Desk, memory: Memory) -> AsyncIterator[Site]:
    async with serving(desk.pool, memory, streams_max=2) as up:
        yield up


def follow(site: Site, bought: Bought, last: int | None = None) -> Any:
    headers = site.buyer(bought)
    if last is not None:
        headers["Last-Event-ID"] = str(last)
    return site.up.client.get(f"/v1/orders/{bought.order_id}/stream", headers=headers)


async def events(answer: aiohttp.ClientResponse) -> AsyncIterator[tuple[str | None, str, Any]]:
    """(id, event, data) as they come; heartbeats are left out."""
    fields: dict[str, str] = {}
    async for raw in answer.content:
        line = raw.decode().rstrip("\r\n")
        if line and not line.startswith(":"):
            name, _, value = line.partition(": ")
            fields[name] = value
        elif not line and fields:
            yield fields.get("id"), fields["event"], json.loads(fields["data"])
            fields = {}


async def test_from_the_acceptance_to_the_end(site: Site, desk: Desk, memory: Memory) -> None:
    bought = await desk.shop.buy()
    memory.remember(bought, desk.shop.sale_id)
    seen = []
    async with asyncio.timeout(20), follow(site, bought) as answer:
        assert answer.content_type == "text/event-stream"
        async for event_id, name, data in events(answer):
            seen.append((event_id, name, data.get("status")))
            if name == "accepted":
                await desk.shop.drain()
            elif name == "placed":
                await desk.service.add_note(bought.order_id, "operator:x", "hidden")
                await desk.pay(bought)
            elif name == "paid":
                await desk.service.cancel_own(bought.order_id, bought.buyer_id, "changed_mind")
    assert seen == [
        (None, "accepted", "accepted"),
        ("1", "placed", "pending_payment"),
        ("3", "paid", "paid"),
        ("4", "cancelled", "cancelled"),
        ("5", "refund_due", None),
    ]


async def test_a_client_that_comes_back_misses_nothing(site: Site, desk: Desk) -> None:
    bought = await desk.shop.place()
    await desk.pay(bought)
    async with asyncio.timeout(20), follow(site, bought, 1) as answer:
        async for event_id, name, _ in events(answer):
            assert (event_id, name) == ("2", "paid")
            break
    await desk.service.cancel_own(bought.order_id, bought.buyer_id, "changed_mind")
    async with asyncio.timeout(20), follow(site, bought, 2) as answer:
        assert [event_id async for event_id, _, _ in events(answer)] == ["3", "4"]
    async with follow(site, bought, 4) as answer:
        assert answer.status == 204, "the browser need not come again"


async def test_many_watch_one_order(site: Site, desk: Desk) -> None:
    bought = await desk.shop.place()

    async def watch(last: int) -> list[str]:
        async with follow(site, bought, last) as answer:
            return [name async for _, name, _ in events(answer)]

    watching = [asyncio.create_task(watch(last)) for last in (0, 1)]
    async with asyncio.timeout(20):
        while site.streams.count < 2:
            await asyncio.sleep(0.01)
        await desk.service.cancel_own(bought.order_id, bought.buyer_id, "changed_mind")
        assert await asyncio.gather(*watching) == [["placed", "cancelled"], ["cancelled"]]
    assert site.streams.count == 0


async def test_the_number_of_streams_is_bounded_and_places_come_free(
    site: Site, desk: Desk
) -> None:
    bought = await desk.shop.place()
    async with follow(site, bought), follow(site, bought), follow(site, bought) as answer:
        assert answer.status == 503
        assert (await answer.json())["code"] == "overloaded"
        assert "Retry-After" in answer.headers
    async with asyncio.timeout(20):
        while site.streams.count:  # noticed by the heartbeat
            await asyncio.sleep(0.01)
    async with follow(site, bought) as answer:
        assert answer.status == 200


async def test_heartbeats_keep_it_open(site: Site, desk: Desk) -> None:
    bought = await desk.shop.place()
    async with asyncio.timeout(20), follow(site, bought, 1) as answer:
        assert (await answer.content.readline()).startswith(b":")


async def test_a_server_that_stops_ends_its_streams(desk: Desk) -> None:
    bought = await desk.shop.place()
    async with asyncio.timeout(20):
        async with serving(desk.pool, Memory()) as site:
            answer = await follow(site, bought)
            assert [name async for _, name, _ in _first(answer)] == ["placed"]
            site.streams.close()
            assert await answer.content.read() is not None
            async with follow(site, bought) as refused:
                assert refused.status == 503


async def _first(answer: aiohttp.ClientResponse) -> AsyncIterator[tuple[str | None, str, Any]]:
    async for event in events(answer):
        yield event
        return


async def test_a_strange_last_event_id_is_none(site: Site, desk: Desk) -> None:
    bought = await desk.shop.place()
    headers = {**site.buyer(bought), "Last-Event-ID": "yesterday"}
    path = f"/v1/orders/{bought.order_id}/stream"
    async with asyncio.timeout(20), site.up.client.get(path, headers=headers) as answer:
        async for event_id, _, _ in events(answer):
            assert event_id == "1"
            break
    status, problem, _ = await site.call("GET", f"/v1/orders/{new_id()}/stream", headers)
    assert (status, problem["code"]) == (404, "order_not_found")
