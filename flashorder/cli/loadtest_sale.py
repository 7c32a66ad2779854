"""The sale of a load test over HTTP: the one that was named is read, or a new one is made."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from flashorder.kernel.clock import rfc3339
from flashorder.kernel.errors import Misconfigured, Unavailable
from flashorder.kernel.identifiers import new_id

if TYPE_CHECKING:
    import aiohttp

CALL_TIMEOUT_SECONDS = 15.0
OVER = frozenset({"closed", "settled"})
PRODUCTS = 5
PER_BUYER_LIMIT = 2
PAYMENT_WINDOW_SECONDS = 20


async def require_sale(url: str, sale: str) -> None:
    """That the service answers at ``url`` and, where ``sale`` is named, that it can be bought at.

    Raises ``Unavailable`` (nobody answers), ``Misconfigured`` (no such sale, or it is over).
    """
    async with _session(url) as session:
        if not sale:
            await _call(session, "GET", "/v1/sales?limit=1")
            return
        found = await _call(session, "GET", f"/v1/sales/{quote(sale, safe='')}")
        if found.get("status") in OVER:
            raise Misconfigured(f"the sale {sale} is {found['status']}: nobody can buy there")


async def open_sale(url: str, token: str, title: str, units: int, opens_at: float) -> str:
    """A new sale of ``units`` through the operators' calls; its id. ``opens_at`` is Unix time."""
    async with _session(url, {"Authorization": f"Bearer {token}"}) as session:
        products = await _call(session, "GET", f"/v1/admin/products?limit={PRODUCTS}")
        body = {"title": title, **_draft(products["items"], units, opens_at)}
        made = await _call(session, "POST", "/v1/admin/sales", body)
        await _call(session, "POST", f"/v1/admin/sales/{made['sale_id']}/open", {})
    return str(made["sale_id"])


def _draft(products: list[dict[str, Any]], units: int, opens_at: float) -> dict[str, Any]:
    if not products:
        raise Misconfigured("there are no products: `flashorder catalog import FILE` first")
    starts = datetime.fromtimestamp(opens_at, UTC)
    share, rest = divmod(units, len(products))
    return {
        "starts_at": rfc3339(starts),
        "ends_at": rfc3339(starts + timedelta(hours=6)),
        "payment_window_seconds": PAYMENT_WINDOW_SECONDS,
        "items": [
            {
                "sku": product["sku"],
                "quantity": max(1, share + (1 if number < rest else 0)),
                "unit_price": product["unit_price"],
                "per_buyer_limit": PER_BUYER_LIMIT,
            }
            for number, product in enumerate(products)
        ],
    }


@asynccontextmanager
async def _session(
    url: str, headers: dict[str, str] | None = None
) -> AsyncIterator[aiohttp.ClientSession]:
    import aiohttp  # noqa: PLC0415 - heavy

    if not url.startswith(("http://", "https://")):
        raise Misconfigured(f"{url} is no address of a service, such as http://127.0.0.1:8080")
    timeout = aiohttp.ClientTimeout(total=CALL_TIMEOUT_SECONDS)
    try:
        async with aiohttp.ClientSession(url, headers=headers, timeout=timeout) as session:
            yield session
    except (aiohttp.InvalidURL, ValueError) as error:
        raise Misconfigured(f"{url} does not answer as flashorder does: {error}") from error
    except (aiohttp.ClientError, TimeoutError) as error:
        raise Unavailable(f"{url} does not answer: {error or 'in time'}") from error


async def _call(
    session: aiohttp.ClientSession, method: str, path: str, body: dict[str, Any] | None = None
) -> dict[str, Any]:
    headers = {"Idempotency-Key": str(new_id())} if method == "POST" else {}
    async with session.request(method, path, json=body, headers=headers) as response:
        answer = await response.json(content_type=None)
        if not isinstance(answer, dict):
            raise ValueError(f"{method} {path} gave no object")
        told = f"{method} {path}: {response.status} {answer.get('detail', '')}".rstrip()
        if response.status >= 500:
            raise Unavailable(told)
        if response.status >= 400:
            raise Misconfigured(told)
        return answer
