"""The HTTP side of the simulated carrier, and the task that lets its time pass.

Callers show the API key of the deployment; the control, the ledger and the label documents are
open, the documents under names that cannot be guessed.
"""

from __future__ import annotations

import asyncio
import hmac
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Annotated, Any, ParamSpec, TypeVar

import aiohttp
import msgspec
import structlog
from aiohttp import web

from flashorder.fulfilment.simulator.books import Books
from flashorder.fulfilment.simulator.control import Control
from flashorder.fulfilment.simulator.document import label_pdf
from flashorder.fulfilment.simulator.postman import Postman
from flashorder.infra.http.problems import status_of
from flashorder.kernel.errors import (
    FlashorderError,
    InvalidInput,
    MalformedRequest,
    Unauthenticated,
    Unavailable,
)
from flashorder.settings import Settings

log = structlog.get_logger(__name__)
P = ParamSpec("P")
R = TypeVar("R")

BODY_BYTES_MAX = 64 * 1024
LEDGER_LABELS_MAX = 10_000
IDLE_SECONDS_MAX = 1.0
API_KEY_PURPOSE = "api:carriers:simulator"
WEBHOOK_KEY_PURPOSE = "webhooks:carriers:simulator"


class ParcelBody(msgspec.Struct, forbid_unknown_fields=True):
    """One box."""

    weight_grams: Annotated[int, msgspec.Meta(ge=1, le=70_000)]
    length_mm: Annotated[int, msgspec.Meta(ge=0, le=5_000)] = 0
    width_mm: Annotated[int, msgspec.Meta(ge=0, le=5_000)] = 0
    height_mm: Annotated[int, msgspec.Meta(ge=0, le=5_000)] = 0


class LabelBody(msgspec.Struct, forbid_unknown_fields=True):
    """Body of ``POST /v1/labels``."""

    parcels: Annotated[list[ParcelBody], msgspec.Meta(min_length=1, max_length=50)]
    ship_to: dict[str, Any] | None = None


class CarrierSimulator:
    """The carrier: answers calls, moves parcels on, tells of it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._api_key = settings.derived_key(API_KEY_PURPOSE).hex()
        self._chance = random.Random()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="carrier-books")
        self._stirred_parcels = asyncio.Event()
        self._stirred_postman = asyncio.Event()
        self._control = Control()
        self._books: Books | None = None

    @property
    def books(self) -> Books:
        """The books; only while the application runs."""
        assert self._books is not None, "the simulator has not been started"
        return self._books

    async def running(self, app: web.Application) -> AsyncIterator[None]:
        """Open the books and run the clock for as long as the application lives."""
        path = self._settings.data_dir / "carrier_simulator.sqlite"
        self._books = await self._in_thread(Books, path, random.Random())
        self._control = await self._in_thread(self._books.control)
        url = f"{self._settings.webhooks_base_url}/v1/webhooks/carriers/simulator"
        key = self._settings.derived_key(WEBHOOK_KEY_PURPOSE)
        async with aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=self._settings.provider_timeout_seconds)
        ) as session:
            postman = Postman(session, url, key)
            rounds = [
                asyncio.create_task(self._repeat(self._stirred_parcels, self._move_parcels)),
                asyncio.create_task(
                    self._repeat(self._stirred_postman, partial(self._send_webhooks, postman))
                ),
            ]
            try:
                yield
            finally:
                for each in rounds:
                    each.cancel()
                await asyncio.gather(*rounds, return_exceptions=True)
                await self._in_thread(self._books.close)
                self._thread.shutdown()

    # -- calls of customers

    async def create_label(self, request: web.Request) -> web.Response:
        """``POST /v1/labels``: 201 with the label; the same key again gives the same label."""
        self._authenticate(request)
        key = request.headers.get("Idempotency-Key", "")
        if not 1 <= len(key) <= 255:
            raise MalformedRequest(code="idempotency_key_missing")
        asked = msgspec.to_builtins(await _read(request, LabelBody))
        async with self._mood():
            label = await self._in_thread(
                self.books.create_label, key, asked, _now_ms(), self._control
            )
            self._stir()
        return _json(self._shown(label), status=201)

    async def cancel_label(self, request: web.Request) -> web.Response:
        """``DELETE /v1/labels/{key}``."""
        self._authenticate(request)
        async with self._mood():
            key = request.match_info["key"]
            label = await self._in_thread(self.books.cancel_label, key, _now_ms())
        return _json(self._shown(label))

    async def tracking(self, request: web.Request) -> web.Response:
        """``GET /v1/tracking/{tracking_number}``."""
        self._authenticate(request)
        async with self._mood():
            number = request.match_info["tracking_number"]
            parcel = await self._in_thread(self.books.tracking, number)
        return _json(self._shown(parcel))

    async def document(self, request: web.Request) -> web.Response:
        """``GET /labels/{token}.pdf``."""
        number, asked = await self._in_thread(self.books.document_of, request.match_info["token"])
        address = asked.get("ship_to") or {}
        lines = [str(value) for value in address.values() if value]
        weight = sum(parcel["weight_grams"] for parcel in asked["parcels"])
        lines += ["", f"{len(asked['parcels'])} parcel(s), {weight} g"]
        return web.Response(body=label_pdf(number, lines), content_type="application/pdf")

    # -- its moods and its books

    async def get_control(self, request: web.Request) -> web.Response:
        """``GET /control``."""
        return _json(self._control)

    async def put_control(self, request: web.Request) -> web.Response:
        """``PUT /control``: what the body leaves out goes back to its default."""
        control = await _read(request, Control)
        await self._in_thread(self.books.set_control, control, _now_ms())
        self._control = control
        self._stir()
        return _json(control)

    async def ledger(self, request: web.Request) -> web.Response:
        """``GET /ledger?limit=&cursor=``."""
        limit = request.query.get("limit", "1000")
        if not (limit.isascii() and limit.isdecimal() and 1 <= int(limit) <= LEDGER_LABELS_MAX):
            raise InvalidInput(f"limit is 1 to {LEDGER_LABELS_MAX}")
        after = request.query.get("cursor", "")
        page = await self._in_thread(self.books.ledger, after, int(limit))
        page["labels"] = [self._shown(label) for label in page["labels"]]
        return _json(page)

    async def health(self, request: web.Request) -> web.Response:
        """``GET /healthz``."""
        return _json({"status": "ok"})

    # -- inside

    async def _repeat(
        self, stirred: asyncio.Event, round_of_work: Callable[[], Awaitable[int | None]]
    ) -> None:
        """Do a round whenever one is due or something stirred; never ends by itself."""
        while True:
            stirred.clear()
            try:
                due_ms = await round_of_work()
            except Exception as error:  # the carrier's clock does not stop for one bad round
                log.warning("carrier_simulator_round_failed", error=repr(error))
                due_ms = None
            idle_seconds = IDLE_SECONDS_MAX
            if due_ms is not None:
                idle_seconds = min(IDLE_SECONDS_MAX, max(0.001, (due_ms - _now_ms()) / 1000))
            with suppress(TimeoutError):
                # Not wait_for: up to Python 3.11 it can swallow a cancellation.
                async with asyncio.timeout(idle_seconds):
                    await stirred.wait()

    async def _move_parcels(self) -> int | None:
        moved = await self._in_thread(self.books.journeys.advance, _now_ms(), self._control)
        if moved:
            self._stirred_postman.set()
        return await self._in_thread(self.books.journeys.next_step_ms)

    async def _send_webhooks(self, postman: Postman) -> int | None:
        journeys = self.books.journeys
        due = await self._in_thread(journeys.due_webhooks, _now_ms())
        if due:
            taken = await postman.send(due)
            await self._in_thread(journeys.webhooks_sent, taken, _now_ms())
        return await self._in_thread(journeys.next_webhook_ms)

    def _stir(self) -> None:
        self._stirred_parcels.set()
        self._stirred_postman.set()

    async def _in_thread(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, lambda: function(*args, **kwargs))

    @asynccontextmanager
    async def _mood(self) -> AsyncIterator[None]:
        """Be slow; fail before or after having done what was asked."""
        control = self._control
        if control.latency_ms:
            await asyncio.sleep(control.latency_ms / 1000)
        fails = self._chance.random() < control.fail_rate
        fails_before = fails and self._chance.random() < 0.5
        if fails_before:
            raise Unavailable(code="simulated_failure")
        yield
        if fails:
            raise Unavailable(code="simulated_failure")

    def _authenticate(self, request: web.Request) -> None:
        shown = request.headers.get("Authorization", "").encode()
        if not hmac.compare_digest(shown, f"Bearer {self._api_key}".encode()):
            raise Unauthenticated("the API key is missing or wrong")

    def _shown(self, label: dict[str, Any]) -> dict[str, Any]:
        token = label.pop("document_token")
        url = f"{self._settings.carrier_simulator_url.rstrip('/')}/labels/{token}.pdf"
        return label | {"label_url": url}


def build_carrier_simulator(settings: Settings) -> web.Application:
    """The simulated carrier as an application; its books are in the data folder of ``settings``."""
    simulator = CarrierSimulator(settings)
    app = web.Application(client_max_size=BODY_BYTES_MAX, middlewares=[_answer_failures])
    app.add_routes(
        [
            web.post("/v1/labels", simulator.create_label),
            web.delete("/v1/labels/{key}", simulator.cancel_label),
            web.get("/v1/tracking/{tracking_number}", simulator.tracking),
            web.get("/labels/{token}.pdf", simulator.document),
            web.get("/control", simulator.get_control),
            web.put("/control", simulator.put_control),
            web.get("/ledger", simulator.ledger),
            web.get("/healthz", simulator.health),
        ]
    )
    app.cleanup_ctx.append(simulator.running)
    return app


@web.middleware
async def _answer_failures(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except FlashorderError as error:
        answer = {"code": error.code, "detail": error.detail}
        return _json(answer, status=status_of(type(error)))


async def _read(request: web.Request, kind: type[R]) -> R:
    try:
        return msgspec.json.decode(await request.read(), type=kind)
    except msgspec.ValidationError as error:
        raise InvalidInput(str(error)) from None
    except msgspec.DecodeError as error:
        raise MalformedRequest(str(error)) from None


def _json(body: Any, *, status: int = 200) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(body), status=status, content_type="application/json"
    )


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
