"""``POST /v1/sales/{sale_id}/orders``: the one hot call."""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated

import msgspec

from flashorder.infra.http.answers import PRIVATE, REPLAYED, Answer
from flashorder.infra.http.endpoint import Call, Endpoint, MoneyBody, Role, Settle
from flashorder.infra.redis.connection import RETRY_AFTER_SECONDS
from flashorder.kernel.clock import rfc3339_from_ms
from flashorder.kernel.errors import (
    Conflict,
    FieldError,
    FlashorderError,
    Gone,
    InvalidInput,
    Locked,
    NotFound,
    StoreUnavailable,
    TooEarly,
)
from flashorder.kernel.identifiers import id_text, order_number, parse_id
from flashorder.reservations.batching import Outcome
from flashorder.reservations.records import Purchase, PurchaseRecord, ReserveCode, Verdict
from flashorder.reservations.service import BUILT_ANEW, NOTHING_LEFT, Reservations
from flashorder.sales.front import FrontSale

QUANTITY_MAX = 1_000_000
ACCEPTED = ReserveCode.ACCEPTED
_due_text = lru_cache(maxsize=256)(rfc3339_from_ms)


class PurchaseBody(msgspec.Struct, forbid_unknown_fields=True):
    """What a shopper wants."""

    sku: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    quantity: Annotated[int, msgspec.Meta(ge=1, le=QUANTITY_MAX)]
    address_id: Annotated[str, msgspec.Meta(min_length=36, max_length=36)] | None = None


class AcceptedBody(msgspec.Struct):
    """The purchase stands: the store has fsynced it."""

    order_id: str
    order_number: str
    sale_id: str
    sku: str
    quantity: int
    unit_price: MoneyBody
    total: MoneyBody
    status: str
    payment_due_at: str


def endpoints(reservations: Reservations) -> list[Endpoint]:
    """The call that buys."""
    known_sale, token_of = reservations.known_sale, reservations.token_of
    refuses, make, put = reservations.refuses, reservations.purchase, reservations.put

    def answered(sale: FrontSale, purchase: Purchase, verdict: Verdict) -> Answer | FlashorderError:
        reservations.notice(purchase, verdict)
        return answer_of(sale, purchase, verdict)

    def buy_directly(call: Call, settle: Settle) -> bool:
        sale_id = parse_id(call.path["sale_id"])
        sale = known_sale(sale_id) if sale_id is not None else None
        if sale is None:
            return False
        body: PurchaseBody = call.body
        sku, quantity = body.sku, body.quantity
        address_id = _address(body.address_id) if body.address_id is not None else b""
        caller, key = call.caller_or_none, call.idempotency_key
        assert caller is not None, "the endpoint demands roles"
        assert key is not None, "the endpoint demands it"
        buyer_id = caller.account_bytes
        token = token_of(buyer_id, sale.sale_bytes, key)
        if refuses(sale, buyer_id, sku, quantity, token, settle):
            return True
        purchase = make(sale, buyer_id, token, sku, quantity, address_id)

        def decided(outcome: Outcome) -> None:
            told: Answer | Exception
            try:
                if isinstance(outcome, Verdict):
                    new = outcome.code is ACCEPTED
                    told = (_new if new else answered)(sale, purchase, outcome)
                else:
                    told = outcome
            except Exception as failure:  # or else the shopper would wait for ever
                told = failure
            settle(told)

        put(purchase, decided)
        return True

    async def buy(call: Call) -> Answer:
        sale = await reservations.find_sale(call.path_id("sale_id"))
        body: PurchaseBody = call.body
        assert call.idempotency_key is not None, "the endpoint demands it"
        buyer_id = call.caller.account_bytes
        purchase = reservations.purchase(
            sale,
            buyer_id,
            token_of(buyer_id, sale.sale_bytes, call.idempotency_key),
            body.sku,
            body.quantity,
            _address(body.address_id) if body.address_id is not None else b"",
        )
        answer = answered(sale, purchase, await reservations.buy(purchase))
        if isinstance(answer, FlashorderError):
            # NOTHING_LEFT is everybody's: it would gather the frames of all who raise it.
            raise answer.with_traceback(None)
        return answer

    return [
        Endpoint(
            "POST",
            "/v1/sales/{sale_id}/orders",
            buy,
            summary="Buy in a sale",
            description=(
                "Answered with 202 only after the store has made the purchase durable. The same "
                "Idempotency-Key gives the first answer again; a refusal is not remembered, so "
                "the same key may succeed once units have come back. An address that is not the "
                "buyer's own is passed over: the order then ships to the one chosen later."
            ),
            tag="shopping",
            roles=frozenset({Role.SHOPPER, Role.SERVICE}),
            body=PurchaseBody,
            replies={202: AcceptedBody},
            headers=("Location",),
            problems={
                404: ("sale_not_found", "sku_not_in_sale"),
                409: ("sold_out", "limit_reached"),
                410: ("sale_ended",),
                423: ("sale_paused",),
                425: ("sale_not_started",),
                503: ("overloaded", "store_unavailable"),
            },
            idempotency_key=True,
            direct=buy_directly,
        )
    ]


def _address(text: str) -> bytes:
    address_id = parse_id(text)
    if address_id is None:
        raise InvalidInput(
            fields=(FieldError("/address_id", "not_an_id", "this is no address id"),)
        )
    return address_id.bytes


def answer_of(sale: FrontSale, purchase: Purchase, verdict: Verdict) -> Answer | FlashorderError:
    """The answer to an accepted or replayed purchase, or else why there is no order."""
    if verdict.code is ReserveCode.ACCEPTED:
        return _new(sale, purchase, verdict)
    if verdict.code is ReserveCode.REPLAYED:
        assert isinstance(verdict.detail, bytes)
        record = PurchaseRecord.unpack(verdict.detail)
        order_id = record.prefix + purchase.token
        answer = _accepted(sale, purchase, order_id, record.unit_price_amount, record.due_ms)
        answer.add_lines(REPLAYED)
        return answer
    if verdict.code is ReserveCode.KEY_REUSED:
        return InvalidInput(
            "this idempotency key belongs to another request", code="idempotency_key_reused"
        )
    if verdict.code in BUILT_ANEW:
        return StoreUnavailable(
            "the sale is being built anew", retry_after_seconds=RETRY_AFTER_SECONDS
        )
    return refusal(verdict)


def _new(sale: FrontSale, purchase: Purchase, verdict: Verdict) -> Answer:
    return _accepted(
        sale,
        purchase,
        purchase.prefix + purchase.token,
        int(verdict.detail),
        verdict.now_ms + verdict.window_ms,
    )


def _accepted(
    sale: FrontSale, purchase: Purchase, order_id: bytes, price: int, due_ms: int
) -> Answer:
    """``AcceptedBody`` written by hand: a dictionary, its encoding and its headers cost 4 µs."""
    order_text = id_text(order_id)
    bought = _bought_text(sale.sale_bytes, purchase.sku, purchase.quantity, price, sale.currency)
    body = (
        f'{{"order_id":"{order_text}","order_number":"{order_number(order_id)}",{bought}'
        f'"payment_due_at":"{_due_text(due_ms)}"}}'
    )
    return Answer(
        202,
        body.encode(),
        lines=f"{PRIVATE}Location: /v1/orders/{order_text}\r\nRetry-After: 1\r\n",
    )


@lru_cache(maxsize=1024)
def _bought_text(sale_id: bytes, sku: str, quantity: int, price: int, currency: str) -> str:
    """The middle of the body, the same for everybody who buys the same."""
    fields = {
        "sale_id": id_text(sale_id),
        "sku": sku,
        "quantity": quantity,
        "unit_price": {"amount": price, "currency": currency},
        "total": {"amount": price * quantity, "currency": currency},
        "status": "accepted",
    }
    return msgspec.json.encode(fields)[1:-1].decode() + ","


def refusal(verdict: Verdict) -> FlashorderError:
    """The error that tells a shopper why there is no order."""
    detail = int(verdict.detail)
    match verdict.code:
        case ReserveCode.SOLD_OUT:
            if not detail:
                return NOTHING_LEFT
            return Conflict(f"sold out: only {detail} left", code="sold_out")
        case ReserveCode.LIMIT_REACHED:
            more = f"you may still have {detail}" if detail > 0 else "you have all you may have"
            return Conflict(f"the limit for one buyer is reached: {more}", code="limit_reached")
        case ReserveCode.NOT_STARTED:
            seconds = max(1.0, (detail - verdict.now_ms) / 1000)
            return TooEarly(
                f"the sale begins at {rfc3339_from_ms(detail)}",
                code="sale_not_started",
                retry_after_seconds=seconds,
            )
        case ReserveCode.ENDED:
            return Gone("the sale is over", code="sale_ended")
        case ReserveCode.PAUSED:
            return Locked("the sale is paused", code="sale_paused")
        case ReserveCode.SKU_NOT_IN_SALE:
            return NotFound("this SKU is not in the sale", code="sku_not_in_sale")
        case _:
            return NotFound("there is no such sale", code="sale_not_found")
