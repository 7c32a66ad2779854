"""Each verdict of the script has its answer in the contract."""

from __future__ import annotations

import uuid

import msgspec
import pytest

from flashorder.infra.http.answers import Answer
from flashorder.infra.http.endpoint import MoneyBody
from flashorder.infra.http.problems import status_of
from flashorder.kernel.errors import TooEarly
from flashorder.kernel.identifiers import order_number
from flashorder.reservations.answers import AcceptedBody, Answers, refusal
from flashorder.reservations.receipts import Receipts, write_receipt
from flashorder.reservations.records import PurchaseRecord, ReserveCode, Verdict
from flashorder.reservations.service import BUILT_ANEW
from tests.reservations.front import SECRET, a_purchase, a_sale

RECEIPTS = Receipts(SECRET)
answer_of = Answers(RECEIPTS).of

REFUSALS = {
    ReserveCode.SOLD_OUT: (409, "sold_out"),
    ReserveCode.LIMIT_REACHED: (409, "limit_reached"),
    ReserveCode.NOT_STARTED: (425, "sale_not_started"),
    ReserveCode.ENDED: (410, "sale_ended"),
    ReserveCode.PAUSED: (423, "sale_paused"),
    ReserveCode.SKU_NOT_IN_SALE: (404, "sku_not_in_sale"),
}
NOW_MS = 1_700_000_000_000


def test_every_verdict_is_answered_somewhere() -> None:
    by_service = {ReserveCode.KEY_REUSED, *BUILT_ANEW}
    accepted = {ReserveCode.ACCEPTED, ReserveCode.REPLAYED}
    assert set(REFUSALS) | by_service | accepted == set(ReserveCode)


@pytest.mark.parametrize(("code", "expected"), REFUSALS.items())
def test_refusals_have_the_contract_s_status_and_code(
    code: ReserveCode, expected: tuple[int, str]
) -> None:
    error = refusal(Verdict(code, 0, NOW_MS, 0))
    assert (status_of(type(error)), error.code) == expected


def test_too_early_says_when() -> None:
    error = refusal(Verdict(ReserveCode.NOT_STARTED, NOW_MS + 90_500, NOW_MS, 0))
    assert isinstance(error, TooEarly)
    assert error.retry_after_seconds == pytest.approx(90.5)


def test_who_has_more_than_a_lowered_limit_is_not_told_a_negative_number() -> None:
    told = [refusal(Verdict(ReserveCode.LIMIT_REACHED, left, NOW_MS, 0)).detail for left in (-1, 0)]
    assert told[0] == told[1]
    assert "-" not in told[0]


def body_and_lines(answer: Answer) -> tuple[AcceptedBody, list[str]]:
    return msgspec.json.decode(answer.content, type=AcceptedBody), answer.lines.split("\r\n")


def test_an_acceptance_says_where_to_look_and_when() -> None:
    sale = a_sale()
    purchase = a_purchase(sale, quantity=2)
    answer = answer_of(sale, purchase, Verdict(ReserveCode.ACCEPTED, 255, NOW_MS, 900_000))
    body, lines = body_and_lines(answer)
    assert answer.status == 202
    assert f"Location: /v1/orders/{body.order_id}" in lines
    assert {"Retry-After: 1", "Cache-Control: no-store"} <= set(lines)
    assert not any(line.startswith("Idempotency-Replayed") for line in lines)
    assert body.total == MoneyBody(510, "GBP")
    assert body.payment_due_at == "2023-11-14T22:28:20.000Z"


@pytest.mark.parametrize("sku", ["85123A", 'a "quoted" \\ one', "тюльпан", "{0}%s\n"])
def test_the_ready_made_body_is_what_an_encoder_would_write(sku: str) -> None:
    sale = a_sale()
    purchase = a_purchase(sale, quantity=2, sku=sku)
    order_id = purchase.prefix + purchase.token
    answer = answer_of(sale, purchase, Verdict(ReserveCode.ACCEPTED, 255, NOW_MS, 900_000))
    assert answer.content == msgspec.json.encode(
        AcceptedBody(
            order_id=str(uuid.UUID(bytes=order_id)),
            order_number=order_number(order_id),
            sale_id=str(sale.sale_id),
            sku=sku,
            quantity=2,
            unit_price=MoneyBody(255, "GBP"),
            total=MoneyBody(510, "GBP"),
            status="accepted",
            payment_due_at="2023-11-14T22:28:20.000Z",
            receipt=write_receipt(
                RECEIPTS.terms(sale.sale_bytes, sku, 2, 255, "GBP"),
                order_id,
                purchase.buyer_id,
                b"",
            ),
        )
    )


def test_a_replay_is_the_first_answer_at_the_first_price() -> None:
    sale = a_sale()
    purchase = a_purchase(sale, quantity=2)
    first = PurchaseRecord(
        True, 1, b"\0\0\0\0\0\1", purchase.fingerprint, 2, 199, NOW_MS, purchase.sku
    )
    verdict = Verdict(ReserveCode.REPLAYED, first.pack(), NOW_MS + 5_000, 900_000)
    answer = answer_of(sale, purchase, verdict)
    body, lines = body_and_lines(answer)
    assert answer.status == 202
    assert "Idempotency-Replayed: true" in lines
    assert body.order_id.startswith("00000000-0001-")
    assert body.unit_price.amount == 199
    # The receipt is of what was promised first, whatever is asked for it today.
    assert body.receipt == write_receipt(
        RECEIPTS.terms(sale.sale_bytes, purchase.sku, 2, 199, "GBP"),
        uuid.UUID(body.order_id).bytes,
        purchase.buyer_id,
        b"",
    )
    assert body.payment_due_at == "2023-11-14T22:13:20.000Z"
