"""API6:2023 Unrestricted access to sensitive business flows.

What stands for it: the flow that is worth automating is buying in a sale, and its guard is the
limit of a buyer. However many purchases of one buyer come at once, under however many keys and
sessions, no more than the limit are accepted; a click that is sent many times is one order;
cancelling gives back what was given and no more; paying at once opens one attempt, and refunds
never exceed what was paid. The limits of requests are in test_resources.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter

from flashorder.kernel.roles import Role
from tests.security.client import Client
from tests.security.newcomer import Newcomer, sale_of_its_own

LIMIT = 3


async def test_a_buyer_in_a_hurry_gets_no_more_than_the_limit(client: Client) -> None:
    sale_id, sku = await sale_of_its_own(client, units=100, limit=LIMIT)
    buyer = await Newcomer.arrive(client)
    await buyer.sign_in()
    elsewhere = Newcomer(client, buyer.email, buyer.account_id)
    await elsewhere.sign_in()
    answers = await asyncio.gather(
        *(who.buy(sale_id, sku) for _ in range(15) for who in (buyer, elsewhere))
    )
    told = Counter((answer.status, answer.code) for answer in answers)
    assert told == {(202, None): LIMIT, (409, "limit_reached"): 30 - LIMIT}
    for answer in answers:
        if answer.status == 202:
            await buyer.order(answer.body["order_id"])
    assert len(await buyer.orders()) == LIMIT


async def test_a_click_that_is_sent_many_times_is_one_order(client: Client) -> None:
    sale_id, sku = await sale_of_its_own(client, units=100, limit=LIMIT)
    buyer = await Newcomer.arrive(client)
    await buyer.sign_in()
    key = uuid.uuid4().hex
    answers = await asyncio.gather(*(buyer.buy(sale_id, sku, key=key) for _ in range(20)))
    assert {answer.status for answer in answers} == {202}
    (order_id,) = {answer.body["order_id"] for answer in answers}
    await buyer.order(order_id)
    assert [order["order_id"] for order in await buyer.orders()] == [order_id]
    other = await buyer.buy(sale_id, sku, 2, key=key)
    assert (other.status, other.code) == (422, "idempotency_key_reused")


async def test_a_quantity_is_no_way_around_the_limit(client: Client) -> None:
    sale_id, sku = await sale_of_its_own(client, units=100, limit=LIMIT)
    buyer = await Newcomer.arrive(client)
    await buyer.sign_in()
    assert (await buyer.buy(sale_id, sku, LIMIT + 1)).code == "limit_reached"
    bought = await buyer.buy(sale_id, sku, LIMIT - 1)
    assert bought.status == 202
    assert (await buyer.buy(sale_id, sku, 2)).code == "limit_reached"
    await buyer.order(bought.body["order_id"])


async def test_cancelling_gives_back_once_what_was_given(client: Client) -> None:
    sale_id, sku = await sale_of_its_own(client, units=100, limit=LIMIT)
    buyer = await Newcomer.arrive(client)
    await buyer.sign_in()
    orders = [(await buyer.buy(sale_id, sku)).body["order_id"] for _ in range(LIMIT)]
    for order_id in orders:
        await buyer.order(order_id)
    cancelled = await asyncio.gather(
        *(
            client.call(
                "POST",
                f"/v1/orders/{orders[0]}/cancel",
                {"reason": "changed_mind"},
                token=buyer.token,
            )
            for _ in range(8)
        )
    )
    assert {answer.status for answer in cancelled} <= {200, 409}
    again = None
    async with asyncio.timeout(10):
        while (again := await buyer.buy(sale_id, sku)).code == "limit_reached":
            await asyncio.sleep(0.02)
    assert again.status == 202
    assert (await buyer.buy(sale_id, sku)).code == "limit_reached"
    await buyer.order(again.body["order_id"])


async def test_paying_at_once_opens_one_attempt(client: Client) -> None:
    sale_id, sku = await sale_of_its_own(client, units=10, limit=LIMIT)
    buyer = await Newcomer.arrive(client)
    await buyer.sign_in()
    order_id = (await buyer.buy(sale_id, sku)).body["order_id"]
    await buyer.order(order_id)
    path = f"/v1/orders/{order_id}/payments"
    started = await asyncio.gather(
        *(client.call("POST", path, {"provider": "simulator"}, token=buyer.token) for _ in range(6))
    )
    assert {answer.status for answer in started} <= {201, 503}
    listed = await client.call("GET", path, token=buyer.token)
    (attempt,) = listed.body["items"]
    assert attempt["attempt"] == 1
    told = {answer.body["payment_id"] for answer in started if answer.status == 201}
    assert told == {attempt["payment_id"]}


async def test_refunds_at_once_never_exceed_what_was_paid(client: Client) -> None:
    scene = client.service.scene
    path = f"/v1/admin/payments/{scene.values['payment_id']}"
    token = scene.tokens[Role.OPERATOR]
    before = (await client.call("GET", path, token=token)).body
    left = before["amount"]["amount"] - before["refunded"]["amount"]
    # Each alone would be too much, so that what is in the scene stays as it is.
    body = {"reason": "a test", "amount": {"amount": left + 1, "currency": "GBP"}}
    answers = await asyncio.gather(
        *(client.call("POST", f"{path}/refunds", body, token=token) for _ in range(5))
    )
    assert {(answer.status, answer.code) for answer in answers} == {(409, "refund_exceeds_capture")}
    after = (await client.call("GET", path, token=token)).body
    assert after == before
