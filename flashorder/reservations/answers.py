"""What a shopper is told of the store's word on a purchase."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Final

import msgspec

from flashorder.infra.http.answers import PRIVATE, REPLAYED, Answer
from flashorder.infra.http.endpoint import MoneyBody
from flashorder.infra.redis.connection import RETRY_AFTER_SECONDS
from flashorder.kernel.clock import rfc3339_from_ms
from flashorder.kernel.errors import (
    Conflict,
    FlashorderError,
    Gone,
    InvalidInput,
    Locked,
    NotFound,
    StoreUnavailable,
    TooEarly,
)
from flashorder.kernel.identifiers import id_text, order_number
from flashorder.reservations.receipts import Receipts, write_receipt
from flashorder.reservations.records import Purchase, PurchaseRecord, ReserveCode, Verdict
from flashorder.reservations.service import BUILT_ANEW, NOTHING_LEFT
from flashorder.sales.front import FrontSale

WISHES_REMEMBERED_MAX: Final = 1024
_due_text = lru_cache(maxsize=256)(rfc3339_from_ms)


class AcceptedBody(msgspec.Struct):
    """The purchase stands: the store has fsynced it. ``receipt`` proves it, see API docs."""

    order_id: str
    order_number: str
    sale_id: str
    sku: str
    quantity: int
    unit_price: MoneyBody
    total: MoneyBody
    status: str
    payment_due_at: str
    receipt: str


class Answers:
    """Answers to purchases; ``receipts`` signs those that are accepted."""

    def __init__(self, receipts: Receipts) -> None:
        self._receipts = receipts
        self._bought = lru_cache(maxsize=WISHES_REMEMBERED_MAX)(self._bought_by_all)

    def new(self, sale: FrontSale, purchase: Purchase, verdict: Verdict) -> Answer:
        """The answer to a purchase that was accepted just now."""
        return self.accepted(
            sale,
            purchase,
            purchase.prefix + purchase.token,
            int(verdict.detail),
            verdict.now_ms + verdict.window_ms,
        )

    def replayed(self, sale: FrontSale, purchase: Purchase, record: PurchaseRecord) -> Answer:
        """The answer to a purchase that was accepted before, as ``record`` has it."""
        answer = self.accepted(
            sale,
            purchase,
            record.prefix + purchase.token,
            record.unit_price_amount,
            record.due_ms,
        )
        answer.add_lines(REPLAYED)
        return answer

    def of(self, sale: FrontSale, purchase: Purchase, verdict: Verdict) -> Answer | FlashorderError:
        """The answer to an accepted or replayed purchase, or else why there is no order."""
        if verdict.code is ReserveCode.ACCEPTED:
            return self.new(sale, purchase, verdict)
        if verdict.code is ReserveCode.REPLAYED:
            assert isinstance(verdict.detail, bytes)
            return self.replayed(sale, purchase, PurchaseRecord.unpack(verdict.detail))
        if verdict.code is ReserveCode.KEY_REUSED:
            return key_reused()
        return built_anew() if verdict.code in BUILT_ANEW else refusal(verdict)

    def accepted(
        self, sale: FrontSale, purchase: Purchase, order_id: bytes, price: int, due_ms: int
    ) -> Answer:
        """``AcceptedBody`` written by hand: a dictionary, its encoding and headers cost 4 µs."""
        order_text = id_text(order_id)
        bought, terms = self._bought(
            sale.sale_bytes, purchase.sku, purchase.quantity, price, sale.currency
        )
        receipt = write_receipt(terms, order_id, purchase.buyer_id, purchase.address_id)
        body = (
            f'{{"order_id":"{order_text}","order_number":"{order_number(order_id)}",{bought}'
            f'"payment_due_at":"{_due_text(due_ms)}","receipt":"{receipt}"}}'
        )
        return Answer(
            202,
            body.encode(),
            lines=f"{PRIVATE}Location: /v1/orders/{order_text}\r\nRetry-After: 1\r\n",
        )

    def _bought_by_all(
        self, sale_id: bytes, sku: str, quantity: int, price: int, currency: str
    ) -> tuple[str, hashlib.blake2b]:
        """The same for everybody who buys the same: the middle of the body, and what is signed."""
        fields = {
            "sale_id": id_text(sale_id),
            "sku": sku,
            "quantity": quantity,
            "unit_price": {"amount": price, "currency": currency},
            "total": {"amount": price * quantity, "currency": currency},
            "status": "accepted",
        }
        middle = msgspec.json.encode(fields)[1:-1].decode() + ","
        return middle, self._receipts.terms(sale_id, sku, quantity, price, currency)


def key_reused() -> FlashorderError:
    """The token is there, and belongs to another wish."""
    return InvalidInput(
        "this idempotency key belongs to another request", code="idempotency_key_reused"
    )


def built_anew() -> FlashorderError:
    """Nothing can be said of the sale for a moment."""
    return StoreUnavailable("the sale is being built anew", retry_after_seconds=RETRY_AFTER_SECONDS)


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
        case _:
            return NotFound("this SKU is not in the sale", code="sku_not_in_sale")
