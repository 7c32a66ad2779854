"""The simulator's HTTP interface.

===============================  ===================================================================
``POST /v1/payments``            begin a payment; ``Idempotency-Key`` required, as for refunds
``GET  /v1/payments/{id}``       its present state
``POST /v1/payments/{id}/…``     ``capture``, ``void``; repeatable, 409 once it is too late
``POST /v1/refunds``             give money back
``GET  /pay/{id}``               the buyer's page; ``POST …/decision`` {"decision": "approve"}
``GET  /control``, ``PUT``       how it misbehaves
``GET  /ledger``                 its own books
===============================  ===================================================================

Calls under /v1 carry the merchant's API key as a bearer token.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

import aiohttp
import msgspec
from aiohttp import web

from flashorder.kernel.clock import utc_now
from flashorder.payments.simulator.bodies import CreateBody, DecisionBody, RefundBody
from flashorder.payments.simulator.books import (
    Books,
    EventEntry,
    PaymentEntry,
    RefundEntry,
    Refused,
    fresh_id,
)
from flashorder.payments.simulator.control import Control
from flashorder.payments.simulator.dispatch import Dispatcher
from flashorder.payments.simulator.journal import Journal
from flashorder.payments.simulator.pages import payment_page, refusal_page
from flashorder.settings import Settings

BODY_BYTES_MAX = 16 * 1024
T = TypeVar("T")


def build_payment_simulator(settings: Settings) -> web.Application:
    """The simulator, with its books in the data folder; its webhooks go to the service's URL."""
    journal = Journal(settings.data_dir / "payment_simulator" / "books.jsonl")
    simulator = PaymentSimulator(
        Books(journal, settings.payment_simulator_url.rstrip("/")),
        journal,
        api_key=settings.derived_key("api:payments:simulator").hex(),
        webhook_url=f"{settings.webhooks_base_url}/v1/webhooks/payments/simulator",
        webhook_secret=settings.derived_key("webhooks:payments:simulator"),
    )
    app = web.Application(client_max_size=BODY_BYTES_MAX, middlewares=[simulator.guard])
    app.cleanup_ctx.append(simulator.lifetime)
    app.add_routes(
        [
            web.get("/healthz", simulator.healthy),
            web.post("/v1/payments", simulator.create),
            web.get("/v1/payments/{id}", simulator.query),
            web.post("/v1/payments/{id}/capture", simulator.capture),
            web.post("/v1/payments/{id}/void", simulator.void),
            web.post("/v1/refunds", simulator.refund),
            web.get("/pay/{id}", simulator.page),
            web.post("/pay/{id}/decision", simulator.decide),
            web.get("/control", simulator.show_control),
            web.put("/control", simulator.set_control),
            web.get("/ledger", simulator.ledger),
        ]
    )
    return app


class PaymentSimulator:
    """The handlers; ``lifetime`` owns the journal's and the dispatcher's tasks."""

    def __init__(
        self,
        books: Books,
        journal: Journal,
        *,
        api_key: str,
        webhook_url: str,
        webhook_secret: bytes,
    ) -> None:
        self._books = books
        self._journal = journal
        self._api_key = api_key
        self._webhook_url = webhook_url
        self._webhook_secret = webhook_secret
        self._control = Control()
        self._dispatcher: Dispatcher | None = None
        self._tasks: tuple[asyncio.Task[None], ...] = ()

    async def lifetime(self, _: web.Application) -> AsyncIterator[None]:
        """Load the books, run journal and dispatcher, and end them in that order's reverse."""
        self._books.load()
        writing = asyncio.create_task(self._journal.run(), name="simulator:journal")
        async with aiohttp.ClientSession() as session:
            self._dispatcher = Dispatcher(
                session,
                self._books,
                lambda: self._control,
                url=self._webhook_url,
                secret=self._webhook_secret,
            )
            self._dispatcher.resume()
            delivering = asyncio.create_task(self._dispatcher.run(), name="simulator:webhooks")
            self._tasks = (writing, delivering)
            try:
                yield
            finally:
                delivering.cancel()
                self._journal.close()
                await asyncio.wait([delivering, writing])
        for task in (writing, delivering):
            if not task.cancelled():
                task.result()

    @web.middleware
    async def guard(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """API key, latency, and one shape for every refusal."""
        try:
            if request.path.startswith("/v1/"):
                self._check_api_key(request)
                answer = await handler(request)
                # What was asked for is done by now: that is what makes slowness dangerous.
                await asyncio.sleep(self._control.latency_ms / 1000)
                return answer
            return await handler(request)
        except Refused as refusal:
            if _wants_page(request):
                return web.Response(
                    status=refusal.status,
                    text=refusal_page(refusal.detail),
                    content_type="text/html",
                )
            return _json({"code": refusal.code, "detail": refusal.detail}, refusal.status)
        except web.HTTPException as error:
            code = error.reason.lower().replace(" ", "_")
            return _json({"code": code, "detail": error.reason}, error.status)

    async def healthy(self, _: web.Request) -> web.Response:
        """GET /healthz."""
        if any(task.done() for task in self._tasks):
            raise Refused(503, "unhealthy", "the books or the webhooks have stopped")
        return _json({"status": "ok"})

    async def create(self, request: web.Request) -> web.Response:
        """POST /v1/payments."""
        body, key, fingerprint = await _keyed(request, CreateBody)
        entry = self._books.create(
            PaymentEntry(
                id=fresh_id("pay"),
                key=key,
                fingerprint=fingerprint,
                created_at=utc_now(),
                **msgspec.structs.asdict(body),
            )
        )
        return await self._answer(entry, [], 201)

    async def query(self, request: web.Request) -> web.Response:
        """GET /v1/payments/{id}."""
        return await self._answer(self._books.payment(request.match_info["id"]), [])

    async def capture(self, request: web.Request) -> web.Response:
        """POST /v1/payments/{id}/capture."""
        entry = self._books.payment(request.match_info["id"])
        return await self._answer(entry, self._books.capture(entry))

    async def void(self, request: web.Request) -> web.Response:
        """POST /v1/payments/{id}/void."""
        entry = self._books.payment(request.match_info["id"])
        return await self._answer(entry, self._books.void(entry))

    async def refund(self, request: web.Request) -> web.Response:
        """POST /v1/refunds."""
        body, key, fingerprint = await _keyed(request, RefundBody)
        refused = random.random() < self._control.refuse_refund_rate
        entry, events = self._books.refund(
            RefundEntry(
                id=fresh_id("re"),
                key=key,
                fingerprint=fingerprint,
                created_at=utc_now(),
                status="failed" if refused else "succeeded",
                failure_code="refund_refused" if refused else None,
                **msgspec.structs.asdict(body),
            )
        )
        return await self._answer(entry, events, 201)

    async def page(self, request: web.Request) -> web.Response:
        """GET /pay/{id}."""
        entry = self._books.payment(request.match_info["id"])
        return web.Response(text=payment_page(entry), content_type="text/html")

    async def decide(self, request: web.Request) -> web.Response:
        """POST /pay/{id}/decision, by a program (JSON) or from the page (form)."""
        content = await request.read()
        if content.lstrip().startswith(b"{"):
            body = _decoded(content, DecisionBody)
        else:
            body = _converted(dict(await request.post()), DecisionBody)
        entry = self._books.payment(request.match_info["id"])
        wants = body.decision == "approve"
        approved = wants and random.random() >= self._control.decline_rate
        events = self._books.decide(entry, body.decision, approved=approved)
        answer = await self._answer(entry, events)
        if not _wants_page(request):
            return answer
        return web.Response(text=payment_page(entry), content_type="text/html")

    async def show_control(self, _: web.Request) -> web.Response:
        """GET /control."""
        return _json(self._control)

    async def set_control(self, request: web.Request) -> web.Response:
        """PUT /control: what is left out goes back to its default."""
        self._control = _decoded(await request.read(), Control)
        return _json(self._control)

    async def ledger(self, _: web.Request) -> web.Response:
        """GET /ledger."""
        await self._books.durable()
        assert self._dispatcher is not None
        webhooks = {"waiting": self._dispatcher.waiting, **self._dispatcher.counts}
        return _json({**self._books.ledger(), "webhooks": webhooks})

    async def _answer(
        self, entry: PaymentEntry | RefundEntry, events: list[EventEntry], status: int = 200
    ) -> web.Response:
        shown = self._books.shown(entry)
        await self._books.durable()
        assert self._dispatcher is not None
        self._dispatcher.post(events)
        return _json(shown, status)

    def _check_api_key(self, request: web.Request) -> None:
        presented = request.headers.get("Authorization", "")
        if not hmac.compare_digest(presented.encode(), f"Bearer {self._api_key}".encode()):
            raise Refused(401, "unauthenticated", "the API key is missing or wrong")


def _wants_page(request: web.Request) -> bool:
    """Browsers ask for HTML; programs take what comes, which is JSON."""
    return "text/html" in request.headers.get("Accept", "")


def _json(body: Any, status: int = 200) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(body), status=status, content_type="application/json"
    )


async def _keyed(request: web.Request, kind: type[T]) -> tuple[T, str, str]:
    """Body, idempotency key and the body's fingerprint."""
    key = request.headers.get("Idempotency-Key", "")
    if not 1 <= len(key) <= 200:
        raise Refused(400, "idempotency_key_missing", "an Idempotency-Key is required")
    content = await request.read()
    body = _decoded(content, kind)
    return body, key, hashlib.sha256(msgspec.json.encode(body)).hexdigest()


def _decoded(content: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.ValidationError as error:
        raise Refused(422, "invalid_input", str(error)) from None
    except msgspec.DecodeError as error:
        raise Refused(400, "malformed_request", str(error)) from None


def _converted(value: Any, kind: type[T]) -> T:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise Refused(422, "invalid_input", str(error)) from None
