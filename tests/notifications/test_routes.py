"""Operators and the events that keep failing."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from flashorder.infra.http.endpoint import Role
from flashorder.infra.http.idempotency import IdempotencyStore
from flashorder.infra.postgres.pool import Pool
from flashorder.kernel.events import Topic
from flashorder.kernel.identifiers import new_id
from flashorder.notifications.routes import endpoints
from tests.infra.http.serving import Served, served
from tests.notifications.test_relay import Ears, relay, say


class Desk:
    """An operator."""

    def __init__(self, server: Served) -> None:
        self._server = server
        self.account_id = new_id()
        self._headers = server.bearer(Role.OPERATOR, self.account_id)

    async def call(
        self, method: str, path: str, role: Role | None = None
    ) -> tuple[int, dict[str, Any]]:
        headers = self._headers if role is None else self._server.bearer(role)
        if method == "POST":
            headers = {**headers, "Idempotency-Key": new_id().hex}
        path = f"/v1/admin/outbox{path}"
        async with self._server.client.request(method, path, headers=headers) as answer:
            return answer.status, await answer.json(content_type=None)

    async def failing(self) -> list[dict[str, Any]]:
        return (await self.call("GET", "?status=failing"))[1]["items"]


@pytest_asyncio.fixture
async def desk(pool: Pool) -> AsyncIterator[Desk]:
    async with served(endpoints(pool), idempotency=IdempotencyStore(pool)) as server:
        yield Desk(server)


async def blocked(pool: Pool, ears: Ears) -> uuid.UUID:
    """A key whose first of two events has failed."""
    key = new_id()
    ears.deaf.add(key)
    await say(pool, Topic.ORDER_PAID, key, 1, 2)
    await relay(pool, {Topic.ORDER_PAID: [ears]}).relay_once()
    return key


async def test_a_failing_event_is_seen_and_tried_again(pool: Pool, desk: Desk) -> None:
    ears = Ears()
    key = await blocked(pool, ears)
    await pool.execute("UPDATE outbox SET available_at = now() + interval '1 hour', attempts = 9")
    (event,) = await desk.failing()
    assert (event["key"], event["topic"], event["payload"]) == (str(key), "order.paid", {"n": 1})
    assert (event["attempts"], event["status"], event["decision"]) == (9, "failing", None)
    assert "ValueError" in event["error"]
    ears.deaf.clear()
    assert await relay(pool, {Topic.ORDER_PAID: [ears]}).relay_all() == 0
    status, tried = await desk.call("POST", f"/{event['event_id']}/retry")
    assert (status, tried["attempts"], tried["decision"]) == (200, 0, "retry")
    assert tried["decided_by"] == str(desk.account_id)
    await relay(pool, {Topic.ORDER_PAID: [ears]}).relay_once()
    assert ears.heard[key] == [1]
    assert await desk.failing() == []
    assert (await desk.call("GET", f"/{event['event_id']}"))[1]["status"] == "processed"


async def test_a_discarded_event_lets_the_next_one_come(pool: Pool, desk: Desk) -> None:
    ears = Ears()
    key = await blocked(pool, ears)
    (event,) = await desk.failing()
    status, given_up = await desk.call("POST", f"/{event['event_id']}/discard")
    assert (status, given_up["status"], given_up["available_at"]) == (200, "discarded", None)
    ears.deaf.clear()
    await relay(pool, {Topic.ORDER_PAID: [ears]}).relay_all()
    assert ears.heard[key] == [2]
    _, page = await desk.call("GET", "?status=discarded")
    assert [each["event_id"] for each in page["items"]] == [event["event_id"]]
    for decision in ("retry", "discard"):
        status, refusal = await desk.call("POST", f"/{event['event_id']}/{decision}")
        assert (status, refusal["code"]) == (409, "invalid_state")
    kept = await pool.fetch("SELECT * FROM outbox_decisions")
    assert [(row["decision"], row["decided_by"]) for row in kept] == [("discard", desk.account_id)]
    assert "ValueError" in kept[0]["error"]


async def test_an_event_of_unknown_topic_is_seen_too(pool: Pool, desk: Desk) -> None:
    await pool.execute(
        "INSERT INTO outbox (topic, key, payload) VALUES ('order.teleported', $1, '{}')", new_id()
    )
    await relay(pool, {}).relay_once()
    (event,) = await desk.failing()
    assert (event["topic"], event["error"]) == ("order.teleported", "of no topic known here")


async def test_one_that_only_waits_is_not_to_be_decided_on(pool: Pool, desk: Desk) -> None:
    await say(pool, Topic.ORDER_PAID, new_id(), 1)
    event_id = await pool.fetchval("SELECT event_id FROM outbox")
    assert await desk.failing() == []
    for decision in ("retry", "discard"):
        status, refusal = await desk.call("POST", f"/{event_id}/{decision}")
        assert (status, refusal["code"]) == (409, "invalid_state")


async def test_failing_events_are_listed_by_pages(pool: Pool, desk: Desk) -> None:
    ears = Ears()
    for _ in range(5):
        await blocked(pool, ears)
    seen: list[int] = []
    query = "?status=failing&limit=2"
    while query:
        _, page = await desk.call("GET", query)
        seen += [each["event_id"] for each in page["items"]]
        cursor = page.get("next_cursor")
        query = f"?status=failing&limit=2&cursor={cursor}" if cursor else ""
    assert len(seen) == 5
    assert seen == sorted(seen, reverse=True)


@pytest.mark.parametrize("path", ["/0", "/x", "/-1", "/9" + "9" * 20, "/٣"])
async def test_what_is_no_event_is_not_found(desk: Desk, path: str) -> None:
    status, problem = await desk.call("GET", path)
    assert (status, problem["code"]) == (404, "event_not_found")


async def test_only_operators_may(desk: Desk) -> None:
    for role in (Role.SHOPPER, Role.SUPPORT):
        assert (await desk.call("GET", "", role))[0] == 403
