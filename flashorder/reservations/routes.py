"""``POST /v1/sales/{sale_id}/orders``: the one hot call."""

from __future__ import annotations

from typing import Annotated

import msgspec

from flashorder.infra.http.answers import Answer
from flashorder.infra.http.endpoint import Call, Endpoint, Role, Settle
from flashorder.kernel.errors import FieldError, FlashorderError, InvalidInput
from flashorder.kernel.identifiers import parse_id
from flashorder.reservations.answers import AcceptedBody, Answers
from flashorder.reservations.batching import Outcome
from flashorder.reservations.records import Purchase, ReserveCode, Verdict
from flashorder.reservations.service import Reservations
from flashorder.sales.front import FrontSale

QUANTITY_MAX = 1_000_000
ACCEPTED = ReserveCode.ACCEPTED


class PurchaseBody(msgspec.Struct, forbid_unknown_fields=True):
    """What a shopper wants."""

    sku: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    quantity: Annotated[int, msgspec.Meta(ge=1, le=QUANTITY_MAX)]
    address_id: Annotated[str, msgspec.Meta(min_length=36, max_length=36)] | None = None


def endpoints(reservations: Reservations) -> list[Endpoint]:
    """The call that buys."""
    known_sale, token_of = reservations.known_sale, reservations.token_of
    refuses, make, put = reservations.refuses, reservations.purchase, reservations.put
    answers = Answers(reservations.receipts)
    new = answers.new

    def answered(sale: FrontSale, purchase: Purchase, verdict: Verdict) -> Answer | FlashorderError:
        reservations.notice(purchase, verdict)
        return answers.of(sale, purchase, verdict)

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
                    accepted = outcome.code is ACCEPTED
                    told = (new if accepted else answered)(sale, purchase, outcome)
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
                "buyer's own is passed over: the order then ships to the one chosen later. Keep "
                "the answer until the order is paid: its `receipt` proves the purchase "
                "(`POST /v1/sales/{sale_id}/receipts`)."
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
                503: ("overloaded", "store_unavailable", "database_unavailable"),
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
