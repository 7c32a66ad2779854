"""Webhooks: API2:2023 for callers who sign instead of signing in, and part of API10:2023.

What stands for it: every webhook of the document by every wrong signature (none, of another key, of
another body, id or time, too old, too new, numbers that are none, another scheme): 401 and nothing
stored; one that was delivered before changes nothing when it comes again; one that is signed and
cannot be read is 400 and nothing stored.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from standardwebhooks import Webhook

from tests.security.client import Client
from tests.security.fingerprints import unchanged
from tests.security.operations import operations_of
from tests.security.service import Service

# What each signs with, and a body that it could send of a thing that is there.
KEYS = {
    "/v1/webhooks/payments/{provider}": "webhooks:payments:simulator",
    "/v1/webhooks/carriers/{carrier}": "webhooks:carriers:simulator",
}
Headers = dict[str, str]


def webhooks(service: Service) -> Iterator[tuple[str, bytes]]:
    """The path and the key of each webhook; one without a key has no place here yet."""
    for operation in operations_of(service):
        if operation.path.startswith("/v1/webhooks/"):
            assert operation.path in KEYS, f"{operation}: say what it is signed with"
            path = operation.url(service.scene.values)
            yield path, service.settings.derived_key(KEYS[operation.path])


def signed(
    key: bytes, body: bytes, *, event_id: str | None = None, seconds_ago: float = 0
) -> Headers:
    """The headers of a delivery that is signed well."""
    event_id = event_id or uuid.uuid4().hex
    moment = datetime.fromtimestamp(time.time() - seconds_ago, UTC)
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": Webhook(key).sign(event_id, moment, body.decode()),
    }


def forgeries(key: bytes, body: bytes) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Headers that the body must not be taken with."""
    good = signed(key, body)
    yield "unsigned", {}
    for name in good:
        yield f"without {name}", {each: good[each] for each in good if each != name}
        yield f"empty {name}", {**good, name: ""}
    yield "another key", signed(b"another key of that length.......", body)
    yield "an empty body's", {**good, **signed(key, b"")}
    yield "another body's", {**good, **signed(key, body + b" ")}
    yield "another id", {**good, "webhook-id": "another"}
    yield "another time", {**good, "webhook-timestamp": str(int(time.time()) - 60)}
    yield "too old", signed(key, body, seconds_ago=301)
    yield "ancient", signed(key, body, seconds_ago=10**9)
    yield "too new", signed(key, body, seconds_ago=-310)
    for moment in ("nan", "inf", "-inf", "1e400", "9" * 400, "0", "-1", "now", "0x10", "1e308"):
        yield f"time {moment}", {**good, "webhook-timestamp": moment}
    version, _, signature = good["webhook-signature"].partition(",")
    for wrong in (
        f"v2,{signature}", f"v1a,{signature}", signature, f"{version},", ",", "v1", "v1,v1,v1",
        f"v1,{signature[:-4]}", "v1,!!!!", "v1,====", "v1,é",
        "v1," + base64.b64encode(b"\0" * 32).decode(), " ".join(["v1,AAAA"] * 200),
    ):  # fmt: skip
        yield f"signature {wrong[:20]}", {**good, "webhook-signature": wrong}


async def test_what_is_not_signed_is_not_stored(client: Client) -> None:
    tried = 0

    async def is_refused(path: str, what: str, body: bytes, headers: Mapping[str, str]) -> None:
        answer = await client.call("POST", path, data=body, headers=headers)
        where = f"{path}, {what}: {answer.status} {answer.body}"
        assert (answer.status, answer.code) == (401, "signature_invalid"), where

    async with unchanged(client.service):
        for path, key in webhooks(client.service):
            for body in (b'{"type": "payment.captured", "data": {}}', b"{}", b"[" * 2_000):
                calls = list(forgeries(key, body))
                await asyncio.gather(*(is_refused(path, what, body, h) for what, h in calls))
                tried += len(calls)
            not_text = {"webhook-id": "x", "webhook-timestamp": "1", "webhook-signature": "v1,AA"}
            await is_refused(path, "no text", b"\xff\xfe\0", not_text)
    assert tried > 200


async def test_a_bearer_token_does_not_stand_for_a_signature(client: Client) -> None:
    async with unchanged(client.service):
        for path, _ in webhooks(client.service):
            for token in client.service.scene.tokens.values():
                answer = await client.call("POST", path, data=b"{}", token=token)
                assert (answer.status, answer.code) == (401, "signature_invalid")


async def test_who_signs_for_one_does_not_sign_for_another(client: Client) -> None:
    (payments, key_of_payments), (carriers, key_of_carriers) = webhooks(client.service)
    async with unchanged(client.service):
        for path, key in ((payments, key_of_carriers), (carriers, key_of_payments)):
            answer = await client.call("POST", path, data=b"{}", headers=signed(key, b"{}"))
            assert answer.status == 401, path


async def test_one_that_comes_again_changes_nothing(client: Client) -> None:
    """The same delivery within its five minutes, as often as anybody likes."""
    payment = json.dumps(
        {"type": "payment.captured", "data": {
            "id": "pay_replayed", "merchant_reference": str(uuid.uuid4()), "status": "captured",
            "amount": 1, "currency": "GBP",
        }}
    ).encode()  # fmt: skip
    parcel = json.dumps(
        {"data": {
            "event_id": uuid.uuid4().hex, "tracking_number": "REPLAYED", "status": "in_transit",
            "occurred_at_ms": 1_700_000_000_000,
        }}
    ).encode()  # fmt: skip
    for (path, key), body in zip(webhooks(client.service), (payment, parcel), strict=True):
        headers = signed(key, body)
        first = await client.call("POST", path, data=body, headers=headers)
        assert first.status == 200, first.body
        async with unchanged(client.service):
            again = await asyncio.gather(
                *(client.call("POST", path, data=body, headers=headers) for _ in range(10))
            )
        assert {answer.status for answer in again} == {200}


UNREADABLE: list[Any] = [
    b"", b"{", b"null", b"[]", b'"text"', b"{}" * 2, b"[" * 5_000, b'{"data":' * 2_000,
    b'{"type": 1}', b'{"type": "payment.captured"}', b'{"data": []}',
]  # fmt: skip


@pytest.mark.parametrize("body", UNREADABLE, ids=lambda body: str(body[:20]))
async def test_what_is_signed_and_cannot_be_read_is_not_stored(client: Client, body: bytes) -> None:
    async with unchanged(client.service):
        for path, key in webhooks(client.service):
            answer = await client.call("POST", path, data=body, headers=signed(key, body))
            where = (path, answer.status, answer.body)
            assert (answer.status, answer.code) == (400, "malformed_request"), where


PAYMENT = {
    "id": "pay_x", "merchant_reference": "x", "status": "captured", "amount": 1, "currency": "GBP",
}  # fmt: skip
NO_PAYMENTS: list[dict[str, Any]] = [
    {"currency": "gbp"}, {"currency": "POUND"}, {"currency": ""}, {"amount": 10**30},
    {"amount": -(10**16)}, {"amount": 1.5}, {"id": ""}, {"id": "x" * 201}, {"id": "a\0b"},
    {"id": "../../v1/refunds"}, {"status": "stolen"}, {"failure_code": "x" * 101},
    {"failure_code": "a\0b"}, {"extra": [[[[]]]] * 3, "currency": "é"},
]  # fmt: skip


@pytest.mark.parametrize("change", NO_PAYMENTS, ids=str)
async def test_a_payment_that_is_none_is_not_stored(client: Client, change: dict[str, Any]) -> None:
    body = json.dumps({"type": "payment.captured", "data": PAYMENT | change}).encode()
    path, key = next(webhooks(client.service))
    async with unchanged(client.service):
        answer = await client.call("POST", path, data=body, headers=signed(key, body))
        where = (answer.status, answer.body)
        assert (answer.status, answer.code) == (400, "malformed_request"), where


async def test_a_nest_beside_what_is_read_is_no_failure(client: Client) -> None:
    """Unknown fields of others are passed over, whatever is in them."""
    path, key = next(webhooks(client.service))
    nest = b"[" * 3_000 + b"]" * 3_000
    body = b'{"type": "other", "nest": ' + nest + b"}"
    answer = await client.call("POST", path, data=body, headers=signed(key, body))
    assert answer.status in (200, 400), answer.body
