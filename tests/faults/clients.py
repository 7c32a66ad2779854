"""Clients over HTTP that write down what they ask and what they are told."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import aiohttp
import msgspec

from tests.faults.history import Call, HistoryFile, Outcome

PROMISES_NOTHING = frozenset({"idempotency_in_flight"})
"""Refusals of one call that say nothing of an earlier one under the same key."""
DEFINITE_503 = frozenset({"overloaded"})
"""Said before anything is asked of a store."""


SIGNED = ("order_id", "sku", "quantity", "unit_price", "receipt")
"""Of the answer to a purchase, what its receipt is presented with."""


def judged(status: int, code: str) -> Outcome:
    """What a client may conclude from a complete answer."""
    if 200 <= status < 300:
        return Outcome.OK
    if code in PROMISES_NOTHING or (status >= 500 and code not in DEFINITE_503):
        return Outcome.UNKNOWN
    return Outcome.REFUSED


@dataclass(frozen=True, slots=True)
class Buyer:
    """Somebody with a token of their own."""

    buyer_id: str
    token: str


class Clients:
    """Calls for any buyer. ``timeout_seconds`` bounds each call; giving up is ``unknown``."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: str,
        history: HistoryFile,
        *,
        timeout_seconds: float,
    ) -> None:
        self._session = session
        self._url = url
        self._history = history
        self._timeout_seconds = timeout_seconds

    async def buy(self, buyer: Buyer, sale_id: str, key: str, body: dict[str, Any]) -> Call:
        """``POST /v1/sales/{sale_id}/orders``."""
        return await self._call(
            "buy", buyer, sale_id, "POST", f"{self._url}/v1/sales/{sale_id}/orders", key, body
        )

    async def present(self, buyer: Buyer, sale_id: str, told: dict[str, Any]) -> Call:
        """``POST /v1/sales/{sale_id}/receipts`` with what a 202 said."""
        return await self._receipt("present", buyer, sale_id, told)

    async def steal(self, thief: Buyer, sale_id: str, told: dict[str, Any]) -> Call:
        """The same by somebody to whom it was not said."""
        return await self._receipt("steal", thief, sale_id, told)

    async def _receipt(self, what: str, buyer: Buyer, sale_id: str, told: dict[str, Any]) -> Call:
        body = {name: told[name] for name in SIGNED}
        url = f"{self._url}/v1/sales/{sale_id}/receipts"
        return await self._call(what, buyer, sale_id, "POST", url, "", body)

    async def look(self, buyer: Buyer, order_id: str) -> Call:
        """``GET /v1/orders/{order_id}``."""
        return await self._call(
            "look", buyer, order_id, "GET", f"{self._url}/v1/orders/{order_id}", "", None
        )

    async def pay(self, buyer: Buyer, order_id: str, key: str) -> Call:
        """``POST /v1/orders/{order_id}/payments`` at the simulator."""
        url = f"{self._url}/v1/orders/{order_id}/payments"
        return await self._call("pay", buyer, order_id, "POST", url, key, {"provider": "simulator"})

    async def decide(self, buyer: Buyer, order_id: str, page: str, decision: str) -> Call:
        """The buyer's decision on the provider's page."""
        body = {"decision": decision}
        return await self._call("decide", buyer, order_id, "POST", f"{page}/decision", "", body)

    async def cancel(self, buyer: Buyer, order_id: str, key: str) -> Call:
        """``POST /v1/orders/{order_id}/cancel``."""
        url = f"{self._url}/v1/orders/{order_id}/cancel"
        return await self._call("cancel", buyer, order_id, "POST", url, key, {"reason": "chaos"})

    async def _call(
        self,
        what: str,
        buyer: Buyer,
        subject: str,
        method: str,
        url: str,
        key: str,
        body: dict[str, Any] | None,
    ) -> Call:
        headers = {"Authorization": f"Bearer {buyer.token}"}
        content = None if body is None else msgspec.json.encode(body)
        if content is not None:
            headers["Content-Type"] = "application/json"
        if key:
            headers["Idempotency-Key"] = key
        asked = self._history.asks(what, buyer.buyer_id, subject, key, body or {})
        try:
            async with (
                asyncio.timeout(self._timeout_seconds),
                self._session.request(method, url, data=content, headers=headers) as response,
            ):
                told = _decoded(await response.read())
                status = response.status
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            return self._history.answers(asked, Outcome.UNKNOWN, 0, type(error).__name__, {})
        code = str(told.get("code", "")) if status >= 400 else ""
        return self._history.answers(asked, judged(status, code), status, code, told)


def _decoded(content: bytes) -> dict[str, Any]:
    """A JSON object; ``ValueError`` for anything else, which no answer of the service is."""
    decoded = msgspec.json.decode(content) if content else {}
    if not isinstance(decoded, dict):
        raise ValueError("the answer is no JSON object")
    return decoded
