"""API1:2023 Broken object level authorization.

What stands for it: every operation for buyers that names a thing which can be somebody's by every
thing of Ada's of that kind by Bob and somebody of each role: 404, the same as for a thing that is
not there, and nothing of it changed; what lists or reads without naming shows nobody else's things,
also with a cursor of somebody else's list; what a body names (an address) is looked for among the
caller's own; a key of Ada's is another key when Bob uses it.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Iterator
from typing import Any

from flashorder.kernel.roles import Role
from tests.security.client import Client
from tests.security.fingerprints import ANSWERS, unchanged
from tests.security.newcomer import Newcomer, sale_of_its_own
from tests.security.operations import OWNED, Operation, secured_operations
from tests.security.scene import SKU, Scene
from tests.security.service import Service


def of_buyers(service: Service) -> Iterator[Operation]:
    """Operations for buyers that name a thing of somebody's."""
    for operation in secured_operations(service):
        if Role.SHOPPER in operation.roles and OWNED.keys() & set(operation.names):
            yield operation


def things_of_ada(operation: Operation, scene: Scene) -> Iterator[dict[str, str]]:
    """The values of the path, with each of Ada's things of that kind in turn."""
    for order_id in scene.orders if "order_id" in operation.names else [""]:
        yield {**scene.values, "order_id": order_id}


def code_of(operation: Operation) -> str:
    """The refusal of a thing that is not there."""
    return next(OWNED[name] for name in operation.names if name in OWNED)


async def test_nobody_reaches_what_is_somebody_else_s(client: Client) -> None:
    scene = client.service.scene
    strangers = [scene.bob.token, *scene.tokens.values()]
    named = {"address_id": scene.bob.address_id}
    tried = 0

    async def is_not_there(operation: Operation, path: str, token: str) -> None:
        answer = await client.call(operation.method, path, operation.body(named), token=token)
        where = f"{operation}: {answer.status} {answer.body}"
        assert (answer.status, answer.code) == (404, code_of(operation)), where

    async with unchanged(client.service, but=ANSWERS):
        for operation in of_buyers(client.service):
            for values in things_of_ada(operation, scene):
                path = operation.url(values)
                await asyncio.gather(*(is_not_there(operation, path, token) for token in strangers))
                tried += len(strangers)
    assert tried > 100


async def test_somebody_else_s_thing_is_told_like_one_that_is_not_there(client: Client) -> None:
    scene = client.service.scene
    for operation in of_buyers(client.service):
        said = []
        for values in (scene.values, dict.fromkeys(scene.values, str(uuid.uuid4()))):
            path = operation.url(values)
            body = operation.body({"address_id": scene.bob.address_id})
            answer = await client.call(operation.method, path, body, token=scene.bob.token)
            said.append({**answer.body, "trace_id": "", "instance": ""})
        assert said[0] == said[1], operation


async def test_the_owner_reaches_it(client: Client) -> None:
    """Or else the tests above would pass where nothing is ever found."""
    scene = client.service.scene
    read = 0
    for operation in of_buyers(client.service):
        if operation.method == "GET" and not operation.path.endswith("/stream"):
            for values in things_of_ada(operation, scene):
                answer = await client.call("GET", operation.url(values), token=scene.ada.token)
                assert answer.status == 200, (str(operation), answer.body)
                read += 1
    assert read >= 7


async def test_what_a_buyer_may_read_shows_nothing_of_others(client: Client) -> None:
    scene = client.service.scene
    of_ada = {
        *scene.orders, scene.ada.account_id, scene.ada.address_id, scene.ada.email,
        scene.values["payment_id"], scene.values["shipment_id"],
    }  # fmt: skip
    places = {"order_id": scene.bobs_order, "address_id": scene.bob.address_id}
    read = 0
    for operation in secured_operations(client.service):
        if operation.method != "GET" or Role.SHOPPER not in operation.roles:
            continue
        if operation.path.endswith("/stream"):
            continue
        path = operation.url({**scene.values, **places})
        answer = await client.call("GET", path, token=scene.bob.token)
        assert answer.status == 200, (str(operation), answer.body)
        shown = json.dumps(answer.body)
        assert not {each for each in of_ada if each in shown}, operation
        read += 1
    assert read >= 6


async def test_a_cursor_of_somebody_else_s_list_shows_one_s_own(client: Client) -> None:
    scene = client.service.scene
    first = await client.call("GET", "/v1/orders?limit=1", token=scene.ada.token)
    cursor = first.body["next_cursor"]
    assert cursor
    answer = await client.call("GET", f"/v1/orders?cursor={cursor}", token=scene.bob.token)
    assert answer.status == 200
    assert {each["order_id"] for each in answer.body["items"]} <= {scene.bobs_order}
    for wish in ("buyer_id", "account_id", "user_id"):
        path = f"/v1/orders?{wish}={scene.ada.account_id}"
        refused = await client.call("GET", path, token=scene.bob.token)
        assert (refused.status, refused.code) == (422, "invalid_input"), wish


async def test_an_order_is_not_sent_to_somebody_else_s_address(client: Client) -> None:
    scene = client.service.scene
    async with unchanged(client.service):
        for address_id in (scene.ada.address_id, str(uuid.uuid4())):
            answer = await client.call(
                "PATCH",
                f"/v1/orders/{scene.bobs_order}",
                {"address_id": address_id},
                token=scene.bob.token,
            )
            assert (answer.status, answer.code) == (404, "address_not_found")
    buyer = await Newcomer.arrive(client)
    await buyer.sign_in()
    sale_id, sku = await sale_of_its_own(client, units=1, limit=1)
    bought = await client.call(
        "POST",
        f"/v1/sales/{sale_id}/orders",
        {"sku": sku, "quantity": 1, "address_id": scene.ada.address_id},
        token=buyer.token,
    )
    assert bought.status == 202
    order = await buyer.order(bought.body["order_id"])
    assert order["ship_to"] is None


async def test_a_key_is_its_caller_s(client: Client) -> None:
    """The same key and body of two buyers: two orders, and no answer of the other's."""
    sale_id, sku = await sale_of_its_own(client, units=2, limit=1)
    key = uuid.uuid4().hex
    orders: list[Any] = []
    for _ in range(2):
        buyer = await Newcomer.arrive(client)
        await buyer.sign_in()
        bought = await buyer.buy(sale_id, sku, key=key)
        assert bought.status == 202
        assert "Idempotency-Replayed" not in bought.headers
        orders.append((buyer, (await buyer.order(bought.body["order_id"]))["order_id"]))
    (first, of_first), (second, of_second) = orders
    assert of_first != of_second
    reason = {"reason": "changed_mind"}
    path = f"/v1/orders/{of_first}/cancel"
    key = uuid.uuid4().hex
    done = await client.call("POST", path, reason, token=first.token, key=key)
    assert done.status == 200
    stolen = await client.call("POST", path, reason, token=second.token, key=key)
    assert (stolen.status, stolen.code) == (404, "order_not_found")


async def test_the_sale_s_page_names_no_buyer(client: Client) -> None:
    scene = client.service.scene
    answer = await client.call("GET", f"/v1/sales/{scene.values['sale_id']}")
    shown = json.dumps(answer.body)
    assert SKU in shown
    assert scene.ada.account_id not in shown
    assert set(answer.body["items"][0]) == {
        "sku", "name", "unit_price", "list_price", "per_buyer_limit", "remaining", "sold_out",
    }  # fmt: skip
