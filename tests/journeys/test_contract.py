"""What a running application answers, against its own document: status, code, type, headers."""

from __future__ import annotations

import asyncio
import re
import uuid
from pathlib import Path

import aiohttp
from pydantic import SecretStr

from flashorder.app.web import build_web
from flashorder.infra.http.server import serve
from flashorder.infra.http.tokens import TokenSigner
from flashorder.kernel.roles import Role
from tests.contract import Contract
from tests.infra.http.serving import make_settings
from tests.journeys.system import SKU, Answer, System, free_port, running_system

HOME = {
    "recipient": "Ada Lovelace", "line1": "12 St James's Square", "city": "London",
    "postal_code": "SW1Y 4JH", "country": "GB",
}  # fmt: skip
PRODUCT = {"sku": "T-1", "name": "A thing", "unit_price": {"amount": 1, "currency": "GBP"}}


async def own(system: System, method: str, path: str, body: object = None, **more: str) -> Answer:
    key = uuid.uuid4().hex
    return await system.call(method, path, body, token=system.shopper, key=key, headers=more)


async def test_a_tour_of_answers(system: System) -> None:
    """Each answer is checked where it arrives, in ``System.call``; here is what it must be."""
    for path in ("healthz", "readyz", "metrics", "openapi.json", "docs"):
        assert (await system.call("GET", f"/{path}")).status == 200
    sale_id = await system.open_sale()
    order_id = (await system.buy(sale_id)).body["order_id"]
    await system.until(order_id, lambda order: order["status"] == "pending_payment")
    await system.buy(sale_id, key="again")
    await system.buy(sale_id, key="again")

    made = await own(system, "POST", "/v1/me/addresses", HOME)
    place = made.headers["Location"]
    assert (await own(system, "PUT", place, HOME, **{"If-Match": '"9"'})).status == 412
    for _ in range(2):
        await own(system, "POST", "/v1/me/addresses", HOME)
    listed = await own(system, "GET", "/v1/me/addresses?limit=1")
    assert 'rel="next"' in listed.headers["Link"]
    assert (await own(system, "GET", "/v1/me/addresses?cursor=x")).code == "invalid_cursor"
    overlong = await own(system, "GET", f"/v1/orders?status={'x' * 9000}")
    assert overlong.code == "malformed_request"

    assert (await system.admin("POST", "products", PRODUCT)).headers["ETag"] == '"1"'
    assert (await system.admin("GET", "products/T-1")).status == 200
    assert (await system.admin("POST", "reconciliations", {})).headers["Location"]
    for path in ("orders", "sales", "products", "shipments", "payments", "reconciliations",
                 "dead-letters", f"orders/{order_id}", f"sales/{sale_id}", f"stock/{SKU}",
                 "stock/movements"):  # fmt: skip
        await system.admin("GET", f"{path}?limit=1" if "/" not in path else path)
        assert (await own(system, "GET", f"/v1/admin/{path}")).status in (403, 404)
        assert (await system.call("GET", f"/v1/admin/{path}")).status in (401, 404)
    for verb in ("confirm-receipt", "cancel", "payments"):
        refused = await own(system, "POST", f"/v1/orders/{order_id}/{verb}", {"zzz": 1})
        assert refused.code == "invalid_input"
    key = uuid.uuid4().hex
    for _ in range(2):
        answer = await system.call(
            "POST", f"/v1/orders/{order_id}/cancel", {"reason": "changed_mind"},
            token=system.shopper, key=key,
        )  # fmt: skip
        assert answer.status == 200
    assert answer.headers["Idempotency-Replayed"] == "true"

    wrong = {"email": "nobody@example.com", "password": "wrong horse"}
    unknown = await system.call("POST", "/v1/tokens", wrong)
    assert unknown.code == "credentials_invalid"
    assert unknown.headers["WWW-Authenticate"] == 'Bearer realm="flashorder"'
    assert (await own(system, "DELETE", "/v1/tokens/current")).status == 204
    assert (await own(system, "GET", "/v1/me")).code == "token_invalid"
    assert len(system.contract.seen) > 50, sorted(system.contract.seen)


async def test_answers_of_those_who_ask_too_often(
    redis_url: str, database_url: str, tmp_path: Path
) -> None:
    async with running_system(
        redis_url, database_url, tmp_path, buyer_requests_burst=1, buyer_requests_per_second=0.1,
        login_attempts_burst=1, login_attempts_per_address_per_minute=6,
    ) as system:  # fmt: skip
        assert (await own(system, "GET", "/v1/me")).status == 200
        held = await own(system, "GET", "/v1/me")
        assert (held.status, held.headers["RateLimit"]) == (429, '"buyer";r=0;t=10')
        wrong = {"email": "nobody@example.com", "password": "wrong horse"}
        names = []
        for _ in range(6):
            answer = await system.call("POST", "/v1/tokens", wrong)
            names += [each.partition(";")[0] for each in answer.headers.getall("RateLimit")]
        assert answer.status == 429
        assert {'"address"', '"sign-in"', '"account"'} == set(names)


async def test_every_call_while_both_stores_are_away(tmp_path: Path) -> None:
    """With a good token and a key, but mostly the wrong body: refused or failed, as documented."""
    settings = make_settings(
        redis_url=SecretStr(f"redis://127.0.0.1:{free_port()}"),
        database_url=SecretStr(f"postgresql://127.0.0.1:{free_port()}/none"),
        data_dir=tmp_path,
    ).model_copy(update={"port": free_port()})
    url = f"http://127.0.0.1:{settings.port}"
    signer = TokenSigner.of(settings)
    tokens = {role: signer.sign(uuid.uuid4(), role, str(uuid.uuid4())) for role in Role}
    stopping, up = asyncio.Event(), asyncio.Event()
    async with build_web(settings) as app, aiohttp.ClientSession(url) as http:
        server = asyncio.create_task(serve(app, settings, stopping, on_ready=lambda at: up.set()))
        await up.wait()
        async with http.get("/openapi.json") as response:
            document = await response.json()
        contract = Contract(document)
        for template, methods in document["paths"].items():
            path = re.sub(r"{\w+}", str(uuid.uuid4()), template)
            for method, operation in methods.items():
                for role in Role:
                    headers = {
                        "Authorization": f"Bearer {tokens[role]}",
                        "Idempotency-Key": uuid.uuid4().hex,
                    }
                    body = {"json": {}} if "requestBody" in operation else {}
                    async with http.request(method, path, headers=headers, **body) as answer:
                        said = await answer.json(content_type=None) if answer.status >= 400 else {}
                        contract.check(method.upper(), path, answer.status, answer.headers, said)
        stopping.set()
        await server
    failed = {template for _, template, status in contract.seen if status == 503}
    assert {"/readyz", "/v1/me", "/v1/orders/{order_id}", "/v1/sales/{sale_id}"} <= failed
    assert not {status for *_, status in contract.seen} & {500}
