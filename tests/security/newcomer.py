"""A shopper of a test's own, who may buy, err and be locked out without anybody else's harm."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass
from typing import Any

from flashorder.kernel.roles import Role
from tests.journeys.system import Answer
from tests.security.client import Client
from tests.security.scene import PASSWORD, WAIT_SECONDS_MAX, sale_of


@dataclass
class Newcomer:
    """An account that has just been made; ``token`` once signed in."""

    client: Client
    email: str
    account_id: str
    token: str = ""

    @classmethod
    async def arrive(cls, client: Client) -> Newcomer:
        """Sign up."""
        email = f"{uuid.uuid4().hex}@shop.example"
        body = {"email": email, "password": PASSWORD, "name": "Newcomer"}
        made = await client.call("POST", "/v1/accounts", body)
        assert made.status == 201, made.body
        return cls(client, email, made.body["account_id"])

    async def sign_in(self) -> Any:
        """The tokens of a new session."""
        body = {"email": self.email, "password": PASSWORD}
        tokens = await self.client.call("POST", "/v1/tokens", body)
        assert tokens.status == 200, tokens.body
        self.token = tokens.body["access_token"]
        return tokens.body

    async def buy(self, sale_id: str, sku: str, quantity: int = 1, **more: Any) -> Answer:
        """One purchase; ``more`` goes to the client."""
        path = f"/v1/sales/{sale_id}/orders"
        return await self.client.call(
            "POST", path, {"sku": sku, "quantity": quantity}, token=self.token, **more
        )

    async def order(self, order_id: str) -> Any:
        """One's order, once it is in the database: nothing is on its way any more."""
        async with asyncio.timeout(WAIT_SECONDS_MAX):
            while True:
                read = await self.client.call("GET", f"/v1/orders/{order_id}", token=self.token)
                if read.body["status"] != "accepted":
                    return read.body
                await asyncio.sleep(0.02)

    async def orders(self) -> list[Any]:
        """All of one's orders that are in the database."""
        listed = await self.client.call("GET", "/v1/orders?limit=200", token=self.token)
        return list(listed.body["items"])


async def sale_of_its_own(client: Client, *, units: int, limit: int) -> tuple[str, str]:
    """A sale that sells a product that nothing else sells: its id, and the SKU."""
    sku = f"T-{uuid.uuid4().hex[:12]}"
    price = {"amount": 299, "currency": "GBP"}
    await _admin(client, "products", {"sku": sku, "name": "Thing", "unit_price": price})
    sale = await _admin(client, "sales", sale_of(sku, units=units, limit=limit))
    await _admin(client, f"sales/{sale['sale_id']}/open")
    return sale["sale_id"], sku


async def _admin(client: Client, path: str, body: Any = None) -> Any:
    token = client.service.scene.tokens[Role.OPERATOR]
    answer = await client.call("POST", f"/v1/admin/{path}", body, token=token)
    assert answer.status < 300, answer.body
    return answer.body
