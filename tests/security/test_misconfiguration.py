"""API8:2023 Security misconfiguration.

What stands for it: every answer of every test of this room says nosniff and no-store, names no
software and no other origin, sets no cookie, and tells of no insides (tests/security/hygiene.py);
here, the ways to an answer that pass no operation (what is not HTTP, methods and paths that there
are not, an answer without a body, an event stream), every method at every path, other origins, and
a failure that nobody foresaw. TLS and the request framing are held by tests/deploy/test_tls.py and
by the tests of smuggling.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict

import pytest

from flashorder.kernel.roles import Role
from tests.security.client import Client, secrets_of
from tests.security.hygiene import check_answer
from tests.security.operations import operations_of
from tests.security.raw import RawAnswer, raw
from tests.security.service import Service

METHODS = (
    "GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "MKCOL", "LOCK",
    "SEARCH", "PURGE", "LINK",
)  # fmt: skip
NOT_HTTP = {
    "nonsense": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/9": b"GET /healthz HTTP/9.9\r\nHost: x\r\n\r\n",
    "a method that is none": b"G\x00T /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    "a header without a name": b"GET /healthz HTTP/1.1\r\n: x\r\n\r\n",
    "a header with a NUL": b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-A: a\0b\r\n\r\n",
    "an overlong target": b"GET /" + b"a" * 9_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "an absolute target": b"GET http://169.254.169.254/latest HTTP/1.1\r\nHost: x\r\n\r\n",
    "CONNECT": b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: 127.0.0.1:22\r\n\r\n",
    "an expectation": b"GET /healthz HTTP/1.1\r\nHost: x\r\nExpect: 200-ok\r\n\r\n",
}


def check_raw(where: str, answer: RawAnswer, service: Service) -> None:
    check_answer(where, answer.status, answer.headers, answer.body, secrets_of(service))


@pytest.mark.parametrize("what", NOT_HTTP)
async def test_what_is_not_http_learns_nothing(service: Service, what: str) -> None:
    answer = await raw(service, NOT_HTTP[what])
    assert 400 <= answer.status < 500 or answer.status == 505, answer
    check_raw(what, answer, service)


async def test_every_path_has_the_methods_of_the_document_and_no_others(client: Client) -> None:
    scene = client.service.scene
    offered: defaultdict[str, set[str]] = defaultdict(set)
    for operation in operations_of(client.service):
        offered[operation.url(scene.values)].add(operation.method)

    async def is_refused(path: str, method: str) -> None:
        answer = await client.call(method, path, token=scene.tokens[Role.OPERATOR])
        where = f"{method} {path}: {answer.status}"
        assert (answer.status, answer.code) == (405, "method_not_allowed"), where
        allowed = set(answer.headers["Allow"].split(", ")) - {"HEAD"}
        assert allowed == methods_at(path), where

    def methods_at(path: str) -> set[str]:
        # /v1/admin/products/import is also a product whose SKU is "import", and so on.
        return offered[path] | {
            method
            for pattern, method in patterns
            if len(pattern) == path.count("/") + 1 and matches(pattern, path.split("/"))
        }

    def matches(pattern: list[str], steps: list[str]) -> bool:
        return all(each in (step, "{}") for each, step in zip(pattern, steps, strict=True))

    patterns = [
        (["{}" if each.startswith("{") else each for each in operation.path.split("/")],
         operation.method)
        for operation in operations_of(client.service)
    ]  # fmt: skip
    tried = [
        (path, method)
        for path in list(offered)
        for method in METHODS
        if method not in methods_at(path)
    ]
    await asyncio.gather(*(is_refused(*each) for each in tried))
    assert len(tried) > 500


async def test_a_method_cannot_be_overridden(client: Client) -> None:
    scene = client.service.scene
    path = f"/v1/me/addresses/{scene.bob.address_id}"
    for name in ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"):
        answer = await client.call("POST", path, token=scene.bob.token, headers={name: "DELETE"})
        assert answer.status == 405
        answer = await client.call(
            "GET", f"{path}?_method=DELETE", token=scene.bob.token, headers={name: "DELETE"}
        )
        assert answer.status == 200
    assert (await client.call("GET", path, token=scene.bob.token)).status == 200


async def test_nothing_is_shared_with_other_origins(client: Client) -> None:
    """No answer has a header of CORS, which hygiene sees to; and nobody is let in for asking."""
    token = client.service.scene.bob.token
    for origin in ("https://evil.example", "null", client.service.url):
        asked = {"Origin": origin, "Access-Control-Request-Method": "GET"}
        assert (await client.call("OPTIONS", "/v1/me", headers=asked)).status == 405
        assert (await client.call("GET", "/v1/me", token=token, headers=asked)).status == 200


async def test_answers_without_a_body_say_what_they_must(client: Client) -> None:
    scene = client.service.scene
    for path in ("/healthz", "/v1/sales", "/v1/me", "/nowhere"):
        answer = await client.call("HEAD", path, token=scene.bob.token)
        assert answer.body == b""
        assert answer.status == (404 if path == "/nowhere" else 200)


async def test_an_event_stream_says_no_more_than_other_answers(client: Client) -> None:
    service = client.service
    order_id = service.scene.orders[-1]
    answer = await raw(
        service,
        f"GET /v1/orders/{order_id}/stream HTTP/1.1\r\nHost: x\r\n"
        f"Authorization: Bearer {service.scene.ada.token}\r\n\r\n".encode(),
    )
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/event-stream"
    check_raw("an event stream", answer, service)


async def test_the_document_for_people_runs_nothing_but_its_own(client: Client) -> None:
    answer = await client.call("GET", "/docs")
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
