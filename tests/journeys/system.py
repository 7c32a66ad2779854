"""The whole system in one loop: every role from the composition root, on real sockets."""

from __future__ import annotations

import asyncio
import socket
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from flashorder.app.background import build_consumer, build_worker
from flashorder.app.web import build_web
from flashorder.fulfilment.simulator.service import build_carrier_simulator
from flashorder.infra.http.server import serve
from flashorder.kernel.clock import rfc3339, utc_now
from flashorder.payments.simulator.app import build_payment_simulator
from flashorder.settings import Settings
from tests.contract import Contract
from tests.journeys.people import sign_in

SKU = "85123A"


@dataclass
class Answer:
    """What came back: status, decoded body, headers."""

    status: int
    body: Any
    headers: Any

    @property
    def code(self) -> str | None:
        """The problem's code."""
        return self.body.get("code") if isinstance(self.body, dict) else None


@dataclass
class System:
    """A running system, and a client of it."""

    settings: Settings
    http: aiohttp.ClientSession
    operator: str
    shopper: str
    contract: Contract

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = None,
        key: str | None = None,
        **kwargs: Any,
    ) -> Answer:
        """One request; ``body`` is sent as JSON unless ``data`` is given.

        Whatever the answer is, it must be in the document.
        """
        headers = dict(kwargs.pop("headers", {}))
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        if key is not None:
            headers["Idempotency-Key"] = key
        if body is not None:
            kwargs["json"] = body
        async with self.http.request(method, path, headers=headers, **kwargs) as response:
            text = await response.read()
            is_json = "json" in response.headers.get("Content-Type", "")
            decoded = await response.json(content_type=None) if is_json and text else text
            self.contract.check(method, path, response.status, response.headers, decoded)
            return Answer(response.status, decoded, response.headers)

    async def buy(
        self, sale_id: str, quantity: Any = 1, *, sku: Any = SKU, key: str | None = None,
        token: str | None = None,
    ) -> Answer:  # fmt: skip
        """Buy as the shopper, with a fresh key unless one is given."""
        return await self.call(
            "POST",
            f"/v1/sales/{sale_id}/orders",
            {"sku": sku, "quantity": quantity},
            token=token or self.shopper,
            key=key or uuid.uuid4().hex,
        )

    async def admin(self, method: str, path: str, body: Any = None) -> Answer:
        """A call of the operator with a fresh key."""
        return await self.call(
            method, f"/v1/admin/{path}", body, token=self.operator, key=uuid.uuid4().hex
        )

    async def open_sale(self, quantity: int = 10, limit: int = 2, **changes: Any) -> str:
        """A sale of one SKU that sells now, made over HTTP."""
        sale_id = await self.create_sale(quantity, limit, **changes)
        opened = await self.admin("POST", f"sales/{sale_id}/open")
        assert opened.status == 200, opened.body
        return sale_id

    async def create_sale(self, quantity: int = 10, limit: int = 2, **changes: Any) -> str:
        """A sale of one SKU that nobody sees yet."""
        sale = {
            "title": "A sale",
            "starts_at": rfc3339(utc_now() - timedelta(minutes=1)),
            "ends_at": rfc3339(utc_now() + timedelta(hours=1)),
            "items": [
                {
                    "sku": SKU,
                    "quantity": quantity,
                    "unit_price": {"amount": 255, "currency": "GBP"},
                    "per_buyer_limit": limit,
                }
            ],
            **changes,
        }
        created = await self.admin("POST", "sales", sale)
        assert created.status == 201, created.body
        return str(created.body["sale_id"])

    async def order(self, order_id: str) -> dict[str, Any]:
        """The shopper's view of an order."""
        answer = await self.call("GET", f"/v1/orders/{order_id}", token=self.shopper)
        assert answer.status == 200, answer.body
        return dict(answer.body)

    async def until(
        self, order_id: str, holds: Callable[[dict[str, Any]], bool], within_seconds: float = 15
    ) -> dict[str, Any]:
        """The order, once ``holds`` of it."""
        order: dict[str, Any] = {}
        try:
            async with asyncio.timeout(within_seconds):
                while not holds(order := await self.order(order_id)):
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"the order never came there: {order}") from None
        return order

    async def pay(self, order_id: str, decision: str = "approve") -> str:
        """Start a payment and decide it at the provider; returns the payment's id."""
        started = await self.call(
            "POST",
            f"/v1/orders/{order_id}/payments",
            {"provider": "simulator"},
            token=self.shopper,
            key=uuid.uuid4().hex,
        )
        assert started.status == 201, started.body
        url = started.body["action"]["url"]
        async with self.http.post(f"{url}/decision", json={"decision": decision}) as response:
            assert response.status < 300, await response.text()
        return str(started.body["payment_id"])


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def running_system(
    redis_url: str, database_url: str, folder: Path, **changes: Any
) -> AsyncIterator[System]:
    """Start every role; ``changes`` are settings."""
    web_port, payment_port, carrier_port = free_port(), free_port(), free_port()
    settings = Settings(
        redis_url=redis_url,
        database_url=database_url,
        data_dir=folder,
        port=web_port,
        payment_simulator_url=f"http://127.0.0.1:{payment_port}",
        carrier_simulator_url=f"http://127.0.0.1:{carrier_port}",
        **changes,
    )
    async with (
        running_roles(settings, payment_port, carrier_port),
        aiohttp.ClientSession(f"http://127.0.0.1:{web_port}") as http,
    ):
        async with http.get("/openapi.json") as response:
            contract = Contract(await response.json())
        yield System(settings, http, *await sign_in(settings, SKU), contract)


@asynccontextmanager
async def running_roles(
    settings: Settings, payment_port: int, carrier_port: int
) -> AsyncIterator[web.Application]:
    """Both simulators on their ports and every role; the web role's application, once it is ready.

    Where the roles look for the simulators is what ``settings`` say.
    """
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(served(build_payment_simulator(settings), payment_port))
        await stack.enter_async_context(served(build_carrier_simulator(settings), carrier_port))
        app = await stack.enter_async_context(build_web(settings))
        consumer = await stack.enter_async_context(build_consumer(settings))
        worker = await stack.enter_async_context(build_worker(settings))
        for run in (lambda stopping: serve(app, settings, stopping), consumer.run, worker.run):
            await stack.enter_async_context(_task(run))
        await _ready(f"http://127.0.0.1:{settings.port}/readyz")
        yield app


@asynccontextmanager
async def served(app: web.Application, port: int) -> AsyncIterator[None]:
    """Listen for ``app`` on a port of this machine."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield
    finally:
        await runner.cleanup()


@asynccontextmanager
async def _task(
    run: Callable[[asyncio.Event], Coroutine[Any, Any, None]],
) -> AsyncIterator[None]:
    stopping = asyncio.Event()
    owner = asyncio.create_task(run(stopping))
    try:
        yield
    finally:
        stopping.set()
        await owner


async def _ready(url: str) -> None:
    async with asyncio.timeout(20), aiohttp.ClientSession() as http:
        while True:
            try:
                async with http.get(url) as response:
                    if response.status == 200:
                        return
            except aiohttp.ClientConnectionError:
                pass
            await asyncio.sleep(0.02)
