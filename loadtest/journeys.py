"""Journeys for Locust: a shopper, an impatient one, a bot. All over HTTP, as real clients do."""

from __future__ import annotations

import math
import random
import uuid
from collections import Counter, deque
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import gevent
from locust import FastHttpUser, between, task
from locust.exception import StopUser

from loadtest.pauses import pause_seconds, retry_after_seconds

RETRIED = frozenset({0, 425, 429, 500, 502, 503, 504})
SHED = frozenset({425, 429})
"""Answered on purpose: asked again, not counted as a failure."""
NOT_THERE = 404
"""A failure: nothing that a visitor asks for is unknown."""
ENDED = frozenset({"shipped", "completed", "cancelled"})
BACKOFF_SECONDS_MIN = 0.05
BACKOFF_SECONDS_MAX = 2.0
IMPATIENT_SECONDS_MAX = 5.0
ATTEMPTS_MAX = 30
WATCHES_MAX = 30


@dataclass(slots=True)
class Stage:
    """What all users of a run share; filled by the locustfile before the first one starts."""

    sale_id: str = ""
    tokens: deque[str] = field(default_factory=deque)
    once: bool = True
    """Every user is one shopper (a spike); otherwise a user is one shopper after another."""
    outcomes: Counter[str] = field(default_factory=Counter)

    def next_token(self) -> str:
        """The next buyer; when all have been here, the first comes again."""
        token = self.tokens[0]
        self.tokens.rotate(-1)
        return token


STAGE = Stage()


class Visitor(FastHttpUser):
    """What every visitor can do; ``abstract`` for Locust."""

    abstract = True
    connection_timeout = 10.0
    network_timeout = 15.0
    # Between one shopper and the next, after a failed journey too: sold out is no reason to hammer.
    wait_time = between(1.0, 3.0)
    patience_seconds = math.inf
    """So much of a Retry-After is heeded."""
    chance = random.Random()

    def on_start(self) -> None:
        """A visitor is a buyer of its own."""
        self.token = STAGE.next_token()

    @task
    def visit(self) -> None:
        """One journey; in a spike there is no second."""
        self.journey()
        if STAGE.once:
            raise StopUser
        self.token = STAGE.next_token()

    def journey(self) -> None:
        """What this kind of visitor does."""
        raise NotImplementedError

    def look(self) -> dict[str, Any]:
        """The sale as it is now."""
        answer = self.call("GET", f"/v1/sales/{STAGE.sale_id}", "GET sale")
        return answer[1] if answer and answer[0] == 200 else {}

    def wait_for_the_start(self, sale: dict[str, Any]) -> None:
        """Sleep until the sale opens by the server's clock."""
        if sale:
            starts = datetime.fromisoformat(sale["starts_at"])
            now = datetime.fromisoformat(sale["server_time"])
            gevent.sleep(max(0.0, (starts - now).total_seconds()))

    def buy(self, sku: str, quantity: int, key: str) -> str | None:
        """The order, or None; the key stays the same however often it is asked."""
        answer = self.call(
            "POST",
            f"/v1/sales/{STAGE.sale_id}/orders",
            "POST order",
            {"sku": sku, "quantity": quantity},
            key,
        )
        status, body = answer or (0, {})
        outcome = "accepted" if status == 202 else str(body.get("code", status))
        STAGE.outcomes[outcome] += 1
        return str(body["order_id"]) if status == 202 else None

    def pay(self, order_id: str, decision: str) -> None:
        """Start a payment and decide it on the provider's page."""
        started = self.call(
            "POST",
            f"/v1/orders/{order_id}/payments",
            "POST payment",
            {"provider": "simulator"},
            f"{order_id}-{decision}",
        )
        if started and started[0] == 201 and started[1].get("action"):
            url = f"{started[1]['action']['url']}/decision"
            self.call("POST", url, "POST decision", {"decision": decision}, bearer=False)

    def watch(self, order_id: str) -> None:
        """Look at the order until it has come to an end, or patience has."""
        for _ in range(WATCHES_MAX):
            answer = self.call("GET", f"/v1/orders/{order_id}", "GET order")
            if answer and answer[1].get("status") in ENDED:
                STAGE.outcomes[f"ended {answer[1]['status']}"] += 1
                return
            gevent.sleep(random.uniform(2.0, 4.0))

    def call(
        self,
        method: str,
        path: str,
        name: str,
        body: dict[str, Any] | None = None,
        key: str | None = None,
        *,
        bearer: bool = True,
        attempts_max: int = ATTEMPTS_MAX,
    ) -> tuple[int, dict[str, Any]] | None:
        """An answer that stands; asked again with the same key while the service is busy or away.

        Waits as long as Retry-After says, or a little longer, else exponentially longer.
        """
        headers = {"Authorization": f"Bearer {self.token}"} if bearer else {}
        if key is not None:
            headers["Idempotency-Key"] = key
        backoff_seconds = BACKOFF_SECONDS_MIN
        for _ in range(attempts_max):
            with self.rest_call(method, path, name, body, headers) as response:
                status = response.status_code
                content = _content(response)
                asked = retry_after_seconds(response.headers)
                if status not in RETRIED:
                    if status == NOT_THERE:
                        response.failure(f"404 {content.get('code', '')}")
                    else:
                        response.success()  # a refusal is an answer
                    return status, content
                if status in SHED:
                    response.success()
            gevent.sleep(
                pause_seconds(
                    backoff_seconds, asked, self.chance, patience_seconds=self.patience_seconds
                )
            )
            backoff_seconds = min(BACKOFF_SECONDS_MAX, backoff_seconds * 2)
        STAGE.outcomes["gave up"] += 1
        return None

    def rest_call(
        self,
        method: str,
        path: str,
        name: str,
        body: dict[str, Any] | None,
        headers: dict[str, str],
    ) -> Any:
        """One request, counted under ``name``."""
        return self.client.request(
            method, path, name=name, json=body, headers=headers, catch_response=True
        )


class Shopper(Visitor):
    """Looks, waits for the opening, buys, pays (mostly), watches."""

    weight = 8

    def journey(self) -> None:
        """The whole way."""
        gevent.sleep(random.uniform(0.0, 1.0))
        sale = self.look()
        self.wait_for_the_start(sale)
        order_id = self.buy_something(sale)
        if order_id is None:
            return
        gevent.sleep(random.uniform(0.2, 3.0))
        decision = random.choices(["approve", "decline", ""], [80, 10, 10])[0]
        if decision:
            self.pay(order_id, decision)
        self.watch(order_id)

    def buy_something(self, sale: dict[str, Any]) -> str | None:
        """One of the first two products that please."""
        skus = [item["sku"] for item in sale.get("items", [])]
        random.shuffle(skus)
        for sku in skus[:2]:
            order_id = self.buy(sku, random.choices([1, 2], [7, 3])[0], uuid.uuid4().hex)
            if order_id is not None:
                return order_id
        return None


class Impatient(Visitor):
    """Clicks twice with the same key, asks again too soon, and gives up early."""

    weight = 1
    patience_seconds = IMPATIENT_SECONDS_MAX

    def journey(self) -> None:
        """Two clicks at once are one order; whoever is kept waiting leaves."""
        sale = self.look()
        self.wait_for_the_start(sale)
        items = sale.get("items", [])
        if not items:
            return
        sku, key = random.choice(items)["sku"], uuid.uuid4().hex
        clicks = [gevent.spawn(self.buy, sku, 1, key) for _ in range(2)]
        gevent.joinall(clicks, timeout=5.0)
        orders = {click.value for click in clicks if click.ready() and click.value}
        if len(orders) > 1:
            STAGE.outcomes["DOUBLE CLICK MADE TWO ORDERS"] += 1
        for click in clicks:
            click.kill(block=False)
        if orders and random.random() < 0.5:
            self.pay(orders.pop(), "approve")


class Bot(Visitor):
    """Hammers with many keys, far over the limit, from before the opening on."""

    weight = 1
    clicks_max = 20

    def journey(self) -> None:
        """It gets what one buyer may have, and no more."""
        sale = self.look()
        self.wait_for_the_start(sale)
        skus = [item["sku"] for item in sale.get("items", [])]
        got: Counter[str] = Counter()
        for _ in range(self.clicks_max if skus else 0):
            sku = random.choice(skus)
            if self.buy(sku, random.choice([1, 2, 1_000]), uuid.uuid4().hex):
                got[sku] += 1
            gevent.sleep(random.uniform(0.0, 0.1))


def _content(response: Any) -> dict[str, Any]:
    try:
        content = response.json()
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}
