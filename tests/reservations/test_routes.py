"""Each verdict of the script has its answer in the contract."""

from __future__ import annotations

import pytest

from flashorder.infra.http.problems import status_of
from flashorder.kernel.errors import TooEarly
from flashorder.reservations.records import PurchaseRecord, ReserveCode, Verdict
from flashorder.reservations.routes import answer_of, refusal
from tests.reservations.front import a_purchase, a_sale

REFUSALS = {
    ReserveCode.SOLD_OUT: (409, "sold_out"),
    ReserveCode.LIMIT_REACHED: (409, "limit_reached"),
    ReserveCode.NOT_STARTED: (425, "sale_not_started"),
    ReserveCode.ENDED: (410, "sale_ended"),
    ReserveCode.PAUSED: (423, "sale_paused"),
    ReserveCode.SALE_NOT_FOUND: (404, "sale_not_found"),
    ReserveCode.SKU_NOT_IN_SALE: (404, "sku_not_in_sale"),
}
NOW_MS = 1_700_000_000_000


def test_every_verdict_is_answered_somewhere() -> None:
    by_service = {ReserveCode.KEY_REUSED, ReserveCode.STALE_GENERATION, ReserveCode.STOCK_MISSING}
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


def test_an_acceptance_says_where_to_look_and_when() -> None:
    sale = a_sale()
    purchase = a_purchase(sale, quantity=2)
    reply = answer_of(sale, purchase, Verdict(ReserveCode.ACCEPTED, 255, NOW_MS, 900_000))
    assert reply.status == 202
    assert reply.headers["Location"] == f"/v1/orders/{reply.body['order_id']}"
    assert reply.headers["Retry-After"] == "1"
    assert "Idempotency-Replayed" not in reply.headers
    assert reply.body["total"] == {"amount": 510, "currency": "GBP"}
    assert reply.body["payment_due_at"] == "2023-11-14T22:28:20.000Z"


def test_a_replay_is_the_first_answer_at_the_first_price() -> None:
    sale = a_sale()
    purchase = a_purchase(sale, quantity=2)
    first = PurchaseRecord(
        True, 1, b"\0\0\0\0\0\1", purchase.fingerprint, 2, 199, NOW_MS, purchase.sku
    )
    verdict = Verdict(ReserveCode.REPLAYED, first.pack(), NOW_MS + 5_000, 900_000)
    reply = answer_of(sale, purchase, verdict)
    assert (reply.status, reply.headers["Idempotency-Replayed"]) == (202, "true")
    assert reply.body["order_id"].startswith("00000000-0001-")
    assert reply.body["unit_price"]["amount"] == 199
    assert reply.body["payment_due_at"] == "2023-11-14T22:13:20.000Z"
