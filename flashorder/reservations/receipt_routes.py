"""``POST /v1/sales/{sale_id}/receipts``: a purchase that the front has lost, presented again."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from flashorder.infra.http.answers import Answer
from flashorder.infra.http.endpoint import Call, Endpoint, PriceBody, Role
from flashorder.kernel.errors import FieldError, FlashorderError, InvalidInput
from flashorder.kernel.identifiers import parse_id
from flashorder.reservations.answers import (
    AcceptedBody,
    Answers,
    built_anew,
    key_reused,
    refusal,
)
from flashorder.reservations.honouring import Honouring, Presented
from flashorder.reservations.metrics import ReserveMetrics
from flashorder.reservations.records import (
    HonourCode,
    HonourVerdict,
    PurchaseRecord,
    ReserveCode,
    Verdict,
)
from flashorder.reservations.routes import QUANTITY_MAX
from flashorder.reservations.service import Reservations
from flashorder.sales.front import FrontSale

NOT_YET: Final = frozenset(
    {
        HonourCode.FILLING,
        HonourCode.SALE_NOT_FOUND,
        HonourCode.STALE_GENERATION,
        HonourCode.STOCK_MISSING,
    }
)


class ReceiptBody(msgspec.Struct, forbid_unknown_fields=True):
    """What the answer to a purchase said; only what is signed, and its signature."""

    order_id: Annotated[str, msgspec.Meta(min_length=36, max_length=36)]
    sku: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    quantity: Annotated[int, msgspec.Meta(ge=1, le=QUANTITY_MAX)]
    unit_price: PriceBody
    receipt: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]


def endpoints(
    reservations: Reservations, honouring: Honouring, metrics: ReserveMetrics
) -> list[Endpoint]:
    """The call that presents a receipt."""
    answers = Answers(reservations.receipts)

    async def present(call: Call) -> Answer:
        sale = await reservations.find_sale(call.path_id("sale_id"))
        presented = _checked(reservations, sale, call.caller.account_bytes, call.body)
        if presented is None:
            metrics.receipts_presented.labels("invalid").inc()
            raise InvalidInput("this receipt is not of this purchase", code="receipt_invalid")
        verdict = await honouring.honour(presented)
        metrics.receipts_presented.labels(verdict.code.name.lower()).inc()
        if verdict.code in NOT_YET:
            reservations.look_again()
        answer = _told(answers, sale, presented, verdict)
        if isinstance(answer, FlashorderError):
            # NOTHING_LEFT is everybody's: it would gather the frames of all who raise it.
            raise answer.with_traceback(None)
        return answer

    return [
        Endpoint(
            "POST",
            "/v1/sales/{sale_id}/receipts",
            present,
            summary="Present the receipt of a purchase that was lost",
            description=(
                "For a purchase that was answered with 202 and is not there any more (404 "
                "`order_not_found`) because its only copy was in a store that has lost its data. "
                "The body repeats what the 202 said. The purchase is honoured under the same order "
                "id and at the same price while stock lasts, also when the sale is paused or has "
                "ended, until it is settled; the time to pay begins anew. A purchase that was not "
                "lost is answered as it was, with `Idempotency-Replayed: true`, so it is safe to "
                "present a receipt at any time and any number of times: it is one order, together "
                "with its Idempotency-Key. No key is needed here. A refusal is not remembered. "
                "Until the sale has been rebuilt the answer is 503."
            ),
            tag="shopping",
            roles=frozenset({Role.SHOPPER, Role.SERVICE}),
            body=ReceiptBody,
            replies={202: AcceptedBody},
            headers=("Location",),
            problems={
                404: ("sale_not_found", "sku_not_in_sale"),
                409: ("sold_out", "limit_reached"),
                410: ("sale_ended",),
                422: ("receipt_invalid", "idempotency_key_reused"),
                503: ("overloaded", "store_unavailable", "database_unavailable"),
            },
        )
    ]


def _checked(
    reservations: Reservations, sale: FrontSale, buyer_id: bytes, body: ReceiptBody
) -> Presented | None:
    """What the receipt stands for; None if it does not hold for this buyer and these terms."""
    order_id = parse_id(body.order_id)
    if order_id is None:
        raise InvalidInput(fields=(FieldError("/order_id", "not_an_id", "this is no order id"),))
    price = body.unit_price
    address_id = reservations.receipts.address_in(
        body.receipt,
        order_id.bytes,
        buyer_id,
        sale_id=sale.sale_bytes,
        sku=body.sku,
        quantity=body.quantity,
        unit_price_amount=price.amount,
        currency=price.currency,
    )
    if address_id is None:
        return None
    return Presented(
        reservations.purchase_of_receipt(
            sale, buyer_id, order_id.bytes, body.sku, body.quantity, address_id
        ),
        price.amount,
    )


def _told(
    answers: Answers, sale: FrontSale, presented: Presented, verdict: HonourVerdict
) -> Answer | FlashorderError:
    purchase = presented.purchase
    match verdict.code:
        case HonourCode.HONOURED:
            due_ms = verdict.now_ms + verdict.window_ms
            return answers.accepted(
                sale, purchase, presented.order_id, presented.unit_price_amount, due_ms
            )
        case HonourCode.KNOWN:
            assert isinstance(verdict.detail, bytes)
            return answers.replayed(sale, purchase, PurchaseRecord.unpack(verdict.detail))
        case HonourCode.KEY_REUSED:
            return key_reused()
        case code if code in NOT_YET:
            return built_anew()
        case code:
            same = Verdict(
                ReserveCode[code.name], verdict.detail, verdict.now_ms, verdict.window_ms
            )
            return refusal(same)
