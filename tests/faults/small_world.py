"""A run that never was: two SKUs, a handful of calls, stores that agree; for the checker's tests.

Each test changes one thing and names the check that must tell. The world is built the way the
service builds it: every purchase leaves an answer, a transaction of the store, and a row.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from flashorder.kernel.identifiers import idempotency_token
from tests.faults.history import Answered, Asked, Call, History, Outcome
from tests.faults.snapshot import (
    Event,
    FrontItem,
    Item,
    Label,
    Movement,
    Order,
    Payment,
    Refund,
    Shipment,
    Snapshot,
)
from tests.faults.store_log import Entry, HoldStep, Step, StoreLog

SALE = str(UUID(int=1))
SKU = "A"
PRICE = 100
SECRET = b"a secret"
LISTS = (
    "payments",
    "refunds",
    "shipments",
    "captures",
    "provider_refunds",
    "labels",
    "dead_letters",
    "commitments",
    "streams",
    "overdue",
    "rechecks",
    "own_findings",
    "trims",
    "internal_errors",
)
STOCK = f"0/{SALE}/{SKU}"


def buyer(n: int) -> str:
    """An id of a buyer."""
    return str(UUID(int=1000 + n))


@dataclass
class World:
    """What clients saw, and both stores; grows by what happens. Time goes on by itself."""

    units: int = 4
    limit: int = 2
    now: float = 0.0
    calls: list[Call] = field(default_factory=list)
    orders: list[Order] = field(default_factory=list)
    end: Snapshot = field(init=False)
    _position: int = 1

    def __post_init__(self) -> None:
        item = Item(
            sale_id=SALE, sku=SKU, initial=self.units, allotted=self.units, committed=0,
            per_buyer_limit=self.limit,
        )  # fmt: skip
        front = FrontItem(shard=0, sale_id=SALE, sku=SKU, stock=self.units, sold=0)
        log = StoreLog(1, stock={STOCK: [Step(1, self.units)]}, holdings={}, holds={})
        log.entries, log.removed, log.unbalanced, log.flushes = [], [], [], []
        log.early_trims = []
        self.end = Snapshot(items=[item], front=[front], orders=self.orders, log=log)
        self.end.idempotency_secret = SECRET.hex()
        self.end.demand_was_above_supply = True
        for name in LISTS:
            setattr(self.end, name, [])

    @property
    def history(self) -> History:
        """What clients saw."""
        return History(tuple(self.calls))

    def call(
        self,
        what: str,
        who: str,
        key: str,
        outcome: Outcome = Outcome.OK,
        *,
        code: str = "",
        body: dict[str, Any] | None = None,
        subject: str = SALE,
        quantity: int = 1,
        seconds: float = 1.0,
    ) -> Call:
        """One call that takes ``seconds``."""
        number = len(self.calls) + 1
        wish = {"sku": SKU, "quantity": quantity} if what == "buy" else {}
        asked = Asked(number, what, who, subject, key, wish, self.now, self.now)
        self.now += seconds
        status = {Outcome.OK: 202, Outcome.REFUSED: 409, Outcome.UNKNOWN: 0}[outcome]
        answered = Answered(number, outcome, status, code, body or {}, self.now, self.now)
        call = Call(asked, answered)
        self.calls.append(call)
        return call

    def sell(self, n: int, key: str = "k", quantity: int = 1, *, told: bool = True) -> Order:
        """Buyer ``n`` buys: an answer (or none), a transaction, an order."""
        prefix = len(self.end.log.entries).to_bytes(6)
        token = idempotency_token(SECRET, UUID(buyer(n)).bytes, UUID(SALE).bytes, key)
        order_id = str(UUID(bytes=prefix + token))
        intent = (1000 + len(self.end.log.entries), 0)
        at = self._step()
        self._move(at, buyer(n), quantity)
        log = self.end.log
        log.entries.append(Entry(at, 0, intent, order_id, buyer(n), SALE, SKU, quantity))
        log.holds[order_id] = [HoldStep(at, order_id, True, 1)]
        order = Order(
            order_id=order_id, buyer_id=buyer(n), sale_id=SALE, sku=SKU, quantity=quantity,
            status="pending_payment", total_amount=PRICE * quantity, intent=intent,
            events=[Event(version=1, type="placed")],
        )  # fmt: skip
        self.orders.append(order)
        self.end.items[0].committed += quantity
        outcome = Outcome.OK if told else Outcome.UNKNOWN
        self.call("buy", buyer(n), key, outcome, body=self.answer(order) if told else None,
                  quantity=quantity)  # fmt: skip
        return order

    def answer(self, order: Order) -> dict[str, Any]:
        """The body of the 202."""
        return {
            "order_id": order.order_id,
            "sku": order.sku,
            "quantity": order.quantity,
            "total": {"amount": order.total_amount, "currency": "GBP"},
        }

    def present(
        self,
        order: Order,
        outcome: Outcome = Outcome.OK,
        *,
        code: str = "",
        what: str = "present",
        who: str = "",
    ) -> Call:
        """The receipt of ``order`` is presented, by its buyer or by ``who``."""
        promised = {
            "order_id": order.order_id,
            "sku": order.sku,
            "quantity": order.quantity,
            "unit_price": {"amount": PRICE, "currency": "GBP"},
        }
        body = self.answer(order) if outcome is Outcome.OK else None
        call = self.call(what, who or order.buyer_id, "", outcome, code=code, body=body)
        call.asked.body.update(promised)
        return call

    def cancel(self, order: Order) -> None:
        """It is cancelled and its units have gone back."""
        self._advance(order, "cancelled")
        order.cancel_reason, order.released_at = "words", self.now
        at = self._step()
        self._move(at, order.buyer_id, -order.quantity)
        self.end.log.holds[order.order_id].append(HoldStep(at, order.order_id, False, 1))
        self.end.items[0].committed -= order.quantity

    def pay(self, order: Order) -> Payment:
        """It is paid, in our books and the provider's."""
        payment = Payment(
            payment_id=f"p{len(self.end.payments)}", order_id=order.order_id, status="captured",
            amount=order.total_amount, refunded_amount=0, keeps_order=True,
            reference=f"ref{len(self.end.payments)}",
        )  # fmt: skip
        self.end.payments.append(payment)
        self.end.captures.append(
            Movement(payment=str(payment.reference), ours=payment.payment_id, amount=payment.amount)
        )
        self._advance(order, "paid")
        return payment

    def refund(self, payment: Payment) -> Refund:
        """The money went back, by both books."""
        refund = Refund(
            refund_id="r", payment_id=payment.payment_id, order_id=payment.order_id,
            status="succeeded", amount=payment.amount,
        )  # fmt: skip
        payment.refunded_amount, payment.keeps_order = payment.amount, False
        self.end.refunds.append(refund)
        self.end.provider_refunds.append(
            Movement(payment=str(payment.reference), ours="r", amount=refund.amount)
        )
        return refund

    def ship(self, order: Order) -> tuple[Shipment, Label]:
        """Its parcel has left, with a label."""
        number = f"T{len(self.end.shipments)}"
        shipment = Shipment(
            shipment_id=f"s{number}", order_id=order.order_id, status="shipped",
            tracking_number=number,
        )  # fmt: skip
        label = Label(
            reference=shipment.shipment_id, tracking_number=number, status="active",
            progress="in_transit",
        )  # fmt: skip
        self.end.shipments.append(shipment)
        self.end.labels.append(label)
        self._advance(order, "awaiting_shipment")
        self._advance(order, "shipped")
        return shipment, label

    def sold_out(self, n: int, quantity: int = 1) -> Call:
        """Buyer ``n`` is told so."""
        return self.call(
            "buy", buyer(n), f"no{n}", Outcome.REFUSED, code="sold_out", quantity=quantity
        )

    def _advance(self, order: Order, status: str) -> None:
        order.status = status
        order.version += 1
        order.events.append(Event(version=order.version, type=status))

    def _step(self) -> int:
        self.end.log.length += 1
        return self.end.log.length

    def _move(self, at: int, who: str, quantity: int) -> None:
        """Units from the stock to the buyer; the other way where ``quantity`` is negative."""
        front, log = self.end.front[0], self.end.log
        front.stock -= quantity
        front.sold += quantity
        log.stock[STOCK].append(Step(at, front.stock))
        steps = log.holdings.setdefault(f"0/{SALE}/{who}/{SKU}", [])
        steps.append(Step(at, (steps[-1].units if steps else 0) + quantity))
