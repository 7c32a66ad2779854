"""Bad input gets a typed 4xx problem and changes nothing: nothing stored, nothing lost, no 500."""

from __future__ import annotations

import asyncio
import uuid
from datetime import timedelta
from typing import Any

from redis.asyncio import Redis

from flashorder.infra.redis import keys
from flashorder.kernel.clock import rfc3339, utc_now
from tests.journeys.system import SKU, Answer, System

GOOD = {"sku": SKU, "quantity": 1}
STRANGE_IDS = [
    "x",
    "{s0}",
    "%7Bs0%7D",
    "a%20b",
    "a%00b",
    "..%2F..%2Fetc",
    "0" * 10_240,
    str(uuid.UUID(int=0)),
    "%F0%9F%9B%92",
]


def is_problem(answer: Answer, status: int, code: str | None = None) -> bool:
    assert answer.status == status, (answer.status, answer.body)
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    assert {"type", "title", "status", "code", "trace_id"} <= answer.body.keys()
    assert code is None or answer.code == code, answer.body
    return True


async def untouched(system: System, sale_id: str) -> bool:
    """Whether nothing was taken of the sale and nothing came onto the stream."""
    answer = await system.call("GET", f"/v1/sales/{sale_id}")
    client = Redis.from_url(system.settings.required_redis_url())
    try:
        entries = await client.xlen(keys.intents(0))
    finally:
        await client.aclose()
    return bool(answer.body["items"][0]["remaining"] == 10 and entries == 0)


async def test_purchases_that_are_no_purchases(system: System) -> None:
    sale_id = await system.open_sale()
    path, token = f"/v1/sales/{sale_id}/orders", system.shopper

    async def send(body: Any, **headers: str) -> Answer:
        return await system.call(
            "POST", path, body, token=token, key=uuid.uuid4().hex, headers=headers
        )

    async def raw(data: bytes, content_type: str = "application/json") -> Answer:
        return await system.call(
            "POST", path, token=token, key=uuid.uuid4().hex, data=data,
            headers={"Content-Type": content_type},
        )  # fmt: skip

    for quantity in (0, -1, 1.5, "1", 10**9, 10**30, None, True, [1], {"units": 1}):
        answer = await send({"sku": SKU, "quantity": quantity})
        assert is_problem(answer, 422), quantity
        assert answer.body["errors"][0]["pointer"].startswith("/quantity")
    for sku in ("", "x" * 65, "x" * 10_240, None, 7, ["85123A"]):
        assert is_problem(await send({"sku": sku, "quantity": 1}), 422), sku
    for sku in ("nope", "{s0}", "a b", "a\0b", "85123a", "'; DROP TABLE orders;--"):
        answer = await send({"sku": sku, "quantity": 1})
        assert answer.status in (404, 422), (sku, answer.body)
        assert is_problem(answer, answer.status)
    assert is_problem(await send({**GOOD, "price": 1}), 422)
    assert is_problem(await send({"sku": SKU}), 422)
    assert is_problem(await send({**GOOD, "address_id": "x" * 36}), 422)
    assert is_problem(await send([GOOD]), 422)
    for data in (b"", b"{", b"\xff\xfe", b'{"sku": "85123A", "quantity": 1'):
        assert is_problem(await raw(data), 400, "malformed_request"), data[:20]
    assert is_problem(await raw(b"[" * 5_000), 422)
    for content_type in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        assert is_problem(await raw(b"{}", content_type), 415)
    assert is_problem(await raw(b" " * 1_000_000), 413)
    assert is_problem(await send({**GOOD, "quantity": 3}), 409, "limit_reached")
    assert await untouched(system, sale_id)


async def test_keys_that_are_no_keys(system: System) -> None:
    sale_id = await system.open_sale()
    path, token = f"/v1/sales/{sale_id}/orders", system.shopper
    missing = await system.call("POST", path, GOOD, token=token)
    assert is_problem(missing, 400, "idempotency_key_missing")
    for key in ("", " ", "x" * 256, "x" * 7_000, "é"):
        assert is_problem(await system.call("POST", path, GOOD, token=token, key=key), 400), key
    assert await untouched(system, sale_id)
    first = await system.buy(sale_id, key="k")
    assert first.status == 202
    other = await system.buy(sale_id, 2, key="k")
    assert is_problem(other, 422, "idempotency_key_reused")
    again = await system.buy(sale_id, key="k")
    assert (again.status, again.body) == (202, first.body)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert "Idempotency-Replayed" not in first.headers


async def test_callers_who_are_nobody(system: System) -> None:
    sale_id = await system.open_sale()
    path = f"/v1/sales/{sale_id}/orders"
    head, payload, signature = system.shopper.split(".")
    tokens = ["", "x", "a.b.c", f"{head}.{payload}.", f"{head}.{payload}.{signature[:-4]}AAAA",
              f"{head}.{payload}", "." * 20, "x" * 6_000]  # fmt: skip
    for token in tokens:
        answer = await system.call("POST", path, GOOD, token=token, key="k")
        assert is_problem(answer, 401), token[:20]
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert is_problem(await system.call("POST", path, GOOD, key="k"), 401)
    forbidden = await system.call("POST", "/v1/admin/sales", {}, token=system.shopper, key="k")
    assert is_problem(forbidden, 403)
    assert await untouched(system, sale_id)


async def test_sales_that_do_not_sell(system: System) -> None:
    async def window(start_minutes: float, end_minutes: float) -> str:
        return await system.open_sale(
            starts_at=rfc3339(utc_now() + timedelta(minutes=start_minutes)),
            ends_at=rfc3339(utc_now() + timedelta(minutes=end_minutes)),
        )

    early = await system.buy(await window(5, 10))
    assert is_problem(early, 425, "sale_not_started")
    assert 1 <= int(early.headers["Retry-After"]) <= 301
    draft = await system.create_sale()
    assert is_problem(await system.buy(draft), 404, "sale_not_found")
    sale_id = await system.open_sale()
    for verb, status, code in (("pause", 423, "sale_paused"), ("close", 410, "sale_ended")):
        assert (await system.admin("POST", f"sales/{sale_id}/{verb}")).status == 200
        assert is_problem(await system.buy(sale_id), status, code)
    assert is_problem(await system.admin("POST", f"sales/{sale_id}/resume"), 409)
    assert is_problem(await system.buy(str(uuid.uuid4())), 404, "sale_not_found")


async def test_strange_ids_are_not_found(system: System) -> None:
    for strange in STRANGE_IDS:
        shopper = [
            ("GET", f"/v1/sales/{strange}", None),
            ("GET", f"/v1/orders/{strange}", None),
            ("POST", f"/v1/sales/{strange}/orders", GOOD),
            ("POST", f"/v1/orders/{strange}/payments", {"provider": "simulator"}),
            ("POST", f"/v1/orders/{strange}/cancel", {"reason": "changed_mind"}),
            ("DELETE", f"/v1/me/addresses/{strange}", None),
        ]
        for method, path, body in shopper:
            key = uuid.uuid4().hex
            answer = await system.call(method, path, body, token=system.shopper, key=key)
            assert answer.status in (400, 404), (method, path[:60], answer.status, answer.body)
        operator = [
            (f"sales/{strange}/open", None),
            (f"orders/{strange}/cancel", {"reason": "other"}),
            (f"shipments/{strange}/pick", None),
        ]
        for path, body in operator:
            answer = await system.admin("POST", path, body)
            assert answer.status in (400, 404), (path[:60], answer.status, answer.body)


async def test_somebody_else_s_order_is_not_there(system: System) -> None:
    sale_id = await system.open_sale()
    bought = await system.buy(sale_id)
    order_id = bought.body["order_id"]
    await system.until(order_id, lambda order: order["status"] == "pending_payment")
    stranger = await system.call(
        "POST", "/v1/accounts",
        {"email": "somebody@else.example", "password": "correct horse battery", "name": "S"},
    )  # fmt: skip
    assert stranger.status == 201, stranger.body
    login = await system.call(
        "POST", "/v1/tokens",
        {"email": "somebody@else.example", "password": "correct horse battery"},
    )  # fmt: skip
    token = login.body["access_token"]
    calls: list[tuple[str, str, Any]] = [
        ("GET", "", None),
        ("PATCH", "", {"address_id": str(uuid.uuid4())}),
        ("POST", "/payments", {"provider": "simulator"}),
        ("POST", "/cancel", {"reason": "changed_mind"}),
        ("POST", "/confirm-receipt", None),
        ("GET", "/stream", None),
    ]
    for method, tail, body in calls:
        answer = await system.call(
            method, f"/v1/orders/{order_id}{tail}", body, token=token, key=uuid.uuid4().hex
        )
        assert is_problem(answer, 404, "order_not_found"), tail
    assert (await system.order(order_id))["status"] == "pending_payment"


async def test_webhooks_that_nobody_signed(system: System) -> None:
    headers = {
        "webhook-id": "evt_1",
        "webhook-timestamp": str(int(utc_now().timestamp())),
        "webhook-signature": "v1,c2lnbmF0dXJl",
    }
    bodies = [b'{"type": "payment.captured"}', b"", b"{", b"\0" * 100]
    for path in ("payments/simulator", "carriers/simulator"):
        for body in bodies:
            answer = await system.call("POST", f"/v1/webhooks/{path}", data=body, headers=headers)
            assert is_problem(answer, 401), body
            bare = await system.call("POST", f"/v1/webhooks/{path}", data=body)
            assert is_problem(bare, 401), body
    unknown = await system.call("POST", "/v1/webhooks/payments/nobody", data=b"{}")
    assert is_problem(unknown, 404)


async def test_a_header_that_never_ends_is_cut(system: System) -> None:
    port = system.settings.port
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Long: ")
    answer = b""
    try:
        for _ in range(200):
            writer.write(b"a" * 1024)
            await writer.drain()
    except ConnectionError:
        pass
    else:
        async with asyncio.timeout(5):
            answer = await reader.read(4096)
    finally:
        writer.close()
    assert not answer or answer.startswith((b"HTTP/1.1 400", b"HTTP/1.0 400", b"HTTP/1.1 431"))
    assert (await system.call("GET", "/healthz")).status == 200
