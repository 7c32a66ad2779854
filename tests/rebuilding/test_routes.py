"""The call that brings a sale back."""

from __future__ import annotations

from flashorder.infra.http.endpoint import Role
from flashorder.infra.http.idempotency import IdempotencyStore
from flashorder.kernel.identifiers import new_id
from flashorder.rebuilding.routes import endpoints
from tests.infra.http.serving import Served, served
from tests.rebuilding.conftest import Market


async def call(
    web: Served, sale_id: object, role: Role = Role.OPERATOR, body: object = None
) -> tuple[int, dict[str, object]]:
    path = f"/v1/admin/sales/{sale_id}/rebuild"
    async with web.client.post(path, headers=web.bearer(role), json=body) as answer:
        return answer.status, await answer.json(content_type=None)


async def test_an_operator_rebuilds_what_was_lost(market: Market) -> None:
    await market.buy()
    await market.drain()
    sale_id = market.sale.sale_id
    async with served(
        endpoints(market.rebuilding), idempotency=IdempotencyStore(market.pool)
    ) as web:
        assert (await call(web, sale_id, Role.SHOPPER))[0] == 403
        status, problem = await call(web, new_id())
        assert (status, problem["code"]) == (404, "sale_not_found")
        status, problem = await call(web, sale_id)
        assert (status, problem["code"]) == (409, "sale_at_front")
        await market.lose()
        status, shown = await call(web, sale_id)
        assert (status, shown["at_front"], shown["synced"]) == (200, True, True)
        assert (shown["status"], shown["generation"]) == ("open", 2)
        status, shown = await call(web, sale_id, body={"force": True})
        assert (status, shown["generation"]) == (200, 3)
    assert await market.remaining() == {"LANTERN": 9, "BOTTLE": 5}
