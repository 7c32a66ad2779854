"""Who and what is in the service that the tests ask: made once, over HTTP, by the calls for it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import aiohttp
from redis.asyncio import Redis

from flashorder.accounts.service import AccountService
from flashorder.infra.http.tokens import Authenticator
from flashorder.infra.postgres.pool import Pool, connect_postgres
from flashorder.infra.redis import keys
from flashorder.kernel.clock import rfc3339, utc_now
from flashorder.kernel.roles import Role
from flashorder.settings import Settings

SKU = "85123A"
PASSWORD = "correct horse battery staple"
HOME = {
    "recipient": "Ada Lovelace", "line1": "12 St James's Square", "city": "London",
    "postal_code": "SW1Y 4JH", "country": "GB",
}  # fmt: skip
WAIT_SECONDS_MAX = 15


@dataclass(frozen=True)
class Person:
    """A shopper with an account of their own, signed in."""

    email: str
    account_id: str
    token: str
    refresh_token: str
    address_id: str


@dataclass(frozen=True)
class Scene:
    """Two shoppers, a token of somebody of each role, and what is Ada's.

    ``values`` has for each name of a path parameter a thing that exists: Ada's, where it is one
    that can be somebody's. ``orders`` are all of hers: unpaid, paid, and on its way.
    """

    ada: Person
    bob: Person
    tokens: Mapping[Role, str]
    values: Mapping[str, str]
    orders: tuple[str, ...]
    bobs_order: str


class _Stage:
    """Makes what is in the scene."""

    def __init__(self, http: aiohttp.ClientSession, operator: str) -> None:
        self._http = http
        self._operator = operator

    async def call(
        self, method: str, path: str, body: Any = None, *, token: str | None = None
    ) -> Any:
        """What is answered, which must be a success; with a key of its own."""
        headers = {"Idempotency-Key": uuid.uuid4().hex}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        async with self._http.request(method, path, json=body or {}, headers=headers) as answer:
            said = await answer.json(content_type=None)
            assert answer.status < 300, (method, path, answer.status, said)
            return said

    async def admin(self, method: str, path: str, body: Any = None) -> Any:
        """As an operator."""
        return await self.call(method, f"/v1/admin/{path}", body, token=self._operator)

    async def get(self, path: str, token: str) -> Any:
        """A reading."""
        async with self._http.get(path, headers={"Authorization": f"Bearer {token}"}) as answer:
            return await answer.json()

    async def person(self, name: str) -> Person:
        """Sign up, sign in, and have an address."""
        email = f"{name}@shop.example"
        made = await self.call(
            "POST", "/v1/accounts", {"email": email, "password": PASSWORD, "name": name}
        )
        tokens = await self.call("POST", "/v1/tokens", {"email": email, "password": PASSWORD})
        token = tokens["access_token"]
        address = await self.call("POST", "/v1/me/addresses", HOME, token=token)
        return Person(
            email, made["account_id"], token, tokens["refresh_token"], address["address_id"]
        )

    async def sale(self) -> str:
        """A sale that sells."""
        product = {"sku": SKU, "name": "HEART", "unit_price": {"amount": 299, "currency": "GBP"}}
        await self.admin("POST", "products", product)
        made = await self.admin("POST", "sales", sale_of(SKU, units=1_000, limit=500))
        await self.admin("POST", f"sales/{made['sale_id']}/open")
        return str(made["sale_id"])

    async def order(self, sale_id: str, buyer: Person) -> str:
        """An order that awaits its payment."""
        wanted = {"sku": SKU, "quantity": 2, "address_id": buyer.address_id}
        bought = await self.call("POST", f"/v1/sales/{sale_id}/orders", wanted, token=buyer.token)
        order_id = str(bought["order_id"])
        await self.until(order_id, buyer, {"pending_payment"})
        return order_id

    async def pay(self, order_id: str, buyer: Person) -> str:
        """Pay the order; the payment's id."""
        started = await self.start_to_pay(order_id, buyer)
        url = f"{started['action']['url']}/decision"
        async with self._http.post(url, json={"decision": "approve"}) as answer:
            assert answer.status < 300, await answer.text()
        await self.until(order_id, buyer, {"paid"})
        return str(started["payment_id"])

    async def start_to_pay(self, order_id: str, buyer: Person) -> Any:
        """An attempt that is open."""
        path = f"/v1/orders/{order_id}/payments"
        return await self.call("POST", path, {"provider": "simulator"}, token=buyer.token)

    async def ship(self, order_id: str, buyer: Person) -> str:
        """Send the order on its way; the shipment's id."""
        await self.admin("POST", f"orders/{order_id}/release-to-warehouse")
        page = await _until(
            lambda: self.get(f"/v1/admin/shipments?order_id={order_id}", self._operator),
            lambda page: bool(page["items"]),
        )
        (shipment,) = page["items"]
        one = f"shipments/{shipment['shipment_id']}"
        await self.admin("POST", f"{one}/pick")
        await self.admin("POST", f"{one}/pack")
        await self.admin("POST", f"{one}/ship", {"carrier": "simulator"})
        await self.until(order_id, buyer, {"shipped"})
        return str(shipment["shipment_id"])

    async def until(self, order_id: str, buyer: Person, states: set[str]) -> None:
        """Wait for a state of the order."""
        await _until(
            lambda: self.get(f"/v1/orders/{order_id}", buyer.token),
            lambda order: order["status"] in states,
        )


async def build_scene(settings: Settings, http: aiohttp.ClientSession) -> Scene:
    """Make everything, and return once nothing moves any more."""
    pool = await connect_postgres(settings.required_database_url())
    accounts = AccountService(pool, settings, Authenticator.of(settings))
    try:
        tokens = {role: (await anext(accounts.mint_tokens(1, role)))[0] for role in Role}
        stage = _Stage(http, tokens[Role.OPERATOR])
        await _parcels_stand_still(settings, http)
        ada, bob = await asyncio.gather(stage.person("ada"), stage.person("bob"))
        sale_id = await stage.sale()
        unpaid, paid, shipped, bobs = [
            await stage.order(sale_id, buyer) for buyer in (ada, ada, ada, bob)
        ]
        await stage.start_to_pay(unpaid, ada)
        await stage.pay(paid, ada)
        payment_id = await stage.pay(shipped, ada)
        part = {"amount": 1, "currency": "GBP"}
        await stage.admin(
            "POST", f"payments/{payment_id}/refunds", {"reason": "a scratch", "amount": part}
        )
        shipment_id = await stage.ship(shipped, ada)
        checked = await stage.admin("POST", "reconciliations", {"sale_id": sale_id})
        values = {
            "order_id": unpaid,
            "payment_id": payment_id,
            "shipment_id": shipment_id,
            "address_id": ada.address_id,
            "sale_id": sale_id,
            "sku": SKU,
            "reconciliation_id": checked["reconciliation_id"],
            "event_id": str(await _failing_event(pool)),
            "dead_letter_id": await _dead_letter(settings, stage, tokens[Role.OPERATOR]),
            "provider": "simulator",
            "carrier": "simulator",
        }
        await _until(lambda: _events_on_their_way(pool), lambda count: count == 0)
    finally:
        accounts.close()
        await pool.close()
    return Scene(ada, bob, tokens, values, (unpaid, paid, shipped), bobs)


def sale_of(sku: str, *, units: int, limit: int) -> dict[str, Any]:
    """The body that makes a sale of one SKU that can be opened now."""
    return {
        "title": "A sale",
        "starts_at": rfc3339(utc_now() - timedelta(minutes=1)),
        "ends_at": rfc3339(utc_now() + timedelta(hours=6)),
        "items": [
            {
                "sku": sku,
                "quantity": units,
                "unit_price": {"amount": 255, "currency": "GBP"},
                "per_buyer_limit": limit,
            }
        ],
    }


async def _parcels_stand_still(settings: Settings, http: aiohttp.ClientSession) -> None:
    url = f"{settings.carrier_simulator_url}/control"
    async with http.put(url, json={"pace_ms": 3_600_000}) as answer:
        assert answer.status == 200, await answer.text()


async def _failing_event(pool: Pool) -> int:
    """An event between the rooms that has failed, and is not tried again meanwhile."""
    event_id: int = await pool.fetchval(
        "INSERT INTO outbox (topic, key, payload, attempts, last_error, available_at) "
        "VALUES ('order.teleported', $1, '{}', 3, 'nobody hears it', now() + interval '1 day') "
        "RETURNING event_id",
        uuid.uuid4(),
    )
    return event_id


async def _dead_letter(settings: Settings, stage: _Stage, operator: str) -> str:
    """An entry of the stream that no order can be made of."""
    client = Redis.from_url(settings.required_redis_url())
    try:
        await client.xadd(keys.intents(0), {"i": b"no intent"})
    finally:
        await client.aclose()
    page = await _until(
        lambda: stage.get("/v1/admin/dead-letters", operator), lambda page: bool(page["items"])
    )
    return str(page["items"][0]["dead_letter_id"])


async def _events_on_their_way(pool: Pool) -> int:
    count: int = await pool.fetchval(
        "SELECT count(*) FROM outbox WHERE processed_at IS NULL AND last_error IS NULL"
    )
    return count


async def _until(read: Callable[[], Awaitable[Any]], holds: Callable[[Any], bool]) -> Any:
    value: Any = None
    try:
        async with asyncio.timeout(WAIT_SECONDS_MAX):
            while not holds(value := await read()):
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"it never came there: {value}") from None
    return value
