"""Bugs to plant in the roles of a run, so that the tester is tested; each has happened somewhere.

A bug is planted from outside, at the start of the process (see ``inside/sitecustomize.py``): the
service has no switch for it. A bug that no longer finds its place fails loudly, so the list cannot
rot. ``blows`` are the faults that bring it to light, one after the other all through the run; what
needs none is told by a quiet run.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

Plant = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Bug:
    """``plant`` breaks the process that it is called in."""

    name: str
    explanation: str
    plant: Plant
    blows: tuple[str, ...] = ()


BUGS: dict[str, Bug] = {}


def plant(name: str) -> None:
    """Break this process."""
    BUGS[name].plant()


def bug(*blows: str) -> Callable[[Plant], Plant]:
    """Register a plant; its docstring says what is wrong."""

    def register(plant: Plant) -> Plant:
        explanation = (plant.__doc__ or "").strip()
        BUGS[plant.__name__] = Bug(plant.__name__, explanation, plant, blows)
        return plant

    return register


# -- the scripts


def _script(name: str, old: str, new: str) -> None:
    """Let ``lua/<name>.lua`` read ``new`` where it reads ``old``."""
    from flashorder.infra.redis import scripts

    real = scripts.load_script

    @cache
    def load_script(wanted: str) -> scripts.Script:
        script = real(wanted)
        if wanted != name:
            return script
        assert old in script.source, f"{name}.lua has changed: the bug does not find its place"
        source = script.source.replace(old, new)
        digest = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
        return scripts.Script(name, source, digest)

    _set(scripts, "load_script", load_script)


@bug()
def sells_below_zero() -> None:
    """The stock is not looked at."""
    _script("reserve", "elseif item.stock < quantity then", "elseif false then")


@bug()
def sells_above_the_limit() -> None:
    """The buyer's limit is not looked at."""
    _script("reserve", "elseif held + quantity > item.limit then", "elseif false then")


@bug("silence web>store down 1")
def forgets_its_tokens() -> None:
    """An accepted purchase leaves no token behind."""
    _script("reserve", "redis.call('HSET', tokens_key, unpack(token_pairs))", "")


@bug("silence web>store down 1")
def overlooks_its_tokens() -> None:
    """The token of a purchase is not looked for: a double click buys twice."""
    _script("reserve", "local record = new_records[token] or records[i]", "local record = nil")


@bug()
def leaves_no_entry() -> None:
    """The first purchase of a batch takes units and never reaches the stream."""
    _script("reserve", "for n = 1, #entries do", "for n = 2, #entries do")


@bug("kill consumer.0", "kill consumer.1")
def limits_the_stream() -> None:
    """XADD with MAXLEN: winners that nobody has read yet are trimmed."""
    _script(
        "reserve",
        "redis.call('XADD', intents_key, '*',",
        "redis.call('XADD', intents_key, 'MAXLEN', '1', '*',",
    )


@bug()
def releases_twice() -> None:
    """A hold that was released is released again, by an event that comes twice."""
    _script("release", "if string.sub(record, 1, 1) == 'R' then return 2 end", "")
    _each_event_twice()


@bug()
def releases_without_marking() -> None:
    """The record still says that the units are held."""
    _script("release", "redis.call('HSET', tokens_key, ARGV[1], 'R' .. string.sub(record, 2))", "")


@bug()
def keeps_the_holding() -> None:
    """Released units still count against the buyer's limit."""
    _script("release", "redis.call('HDEL', buyers_key, holding_field)", "")


@bug()
def counts_released_units_as_sold() -> None:
    """A release gives stock back and does not lower what was sold."""
    _script("release", "redis.call('HINCRBY', sold_key, sku, -quantity)", "")


@bug()
def reclaims_from_nowhere() -> None:
    """A late payment gets units that were not taken from the stock."""
    _script("reclaim", "redis.call('HINCRBY', stock_key, sku, -quantity)", "")


@bug()
def a_receipt_makes_a_second_order() -> None:
    """Whether the purchase is there already is not looked at: its units are taken again."""
    _script("honour", "if record then", "if false then")


@bug()
def honours_receipts_of_strangers() -> None:
    """Who presents a receipt is not part of what is checked."""
    from flashorder.reservations.receipts import Receipts

    real = Receipts.address_in

    def address_in(self: Any, receipt: str, order_id: bytes, buyer_id: bytes, **more: Any) -> Any:
        held = real(self, receipt, order_id, buyer_id, **more)
        return b"" if held is None else held

    _set(Receipts, "address_in", address_in)


@bug()
def tops_up_twice() -> None:
    """The id of a top-up is not remembered, and a lost answer repeats it."""
    _script("top_up", "redis.call('SISMEMBER', top_ups_key, ARGV[2]) == 1", "false")
    from flashorder.sales.front import SaleFront

    _again(SaleFront, "top_up")


# -- web


@bug("freeze store 3")
def accepts_without_an_answer() -> None:
    """A store that is silent is taken to have agreed."""
    from flashorder.kernel.errors import StoreUnavailable
    from flashorder.reservations.records import ReserveCode, Verdict

    def answered(purchase: Any) -> Verdict:
        return Verdict(ReserveCode.ACCEPTED, 199, int(time.time() * 1000), 8000)

    _answer_failures_of_purchases(StoreUnavailable, answered)


@bug("freeze store 3")
def calls_a_failure_sold_out() -> None:
    """A store that is silent is taken to have nothing left."""
    from flashorder.kernel.errors import StoreUnavailable
    from flashorder.reservations.records import ReserveCode, Verdict

    _answer_failures_of_purchases(
        StoreUnavailable, lambda _: Verdict(ReserveCode.SOLD_OUT, 0, 0, 8000)
    )


@bug("silence web>store down 1")
def makes_keys_of_its_own() -> None:
    """The order id has nothing to do with the idempotency key."""
    from flashorder.kernel import identifiers

    real = identifiers.idempotency_token

    def idempotency_token(secret: bytes, buyer_id: bytes, sale_id: bytes, key: str) -> bytes:
        return real(secret, buyer_id, sale_id, key + os.urandom(8).hex())

    _set(identifiers, "idempotency_token", idempotency_token)


@bug("freeze consumer.0 3", "freeze consumer.1 3")
def hides_what_is_not_placed_yet() -> None:
    """An order is there only when PostgreSQL has it."""
    from flashorder.reservations.service import Reservations

    async def find(self: Any, order_id: uuid.UUID, buyer_id: uuid.UUID) -> None:
        return None

    _set(Reservations, "find", find)


# -- consumer


@bug("kill consumer.0", "kill consumer.1", "kill database")
def acknowledges_before_the_commit() -> None:
    """What is read is acknowledged; a death before the commit loses it."""
    from flashorder.consumer.stream import GROUP, IntentStream

    real = IntentStream._read

    async def read(self: Any, *args: Any, **kwargs: Any) -> Any:
        entries = await real(self, *args, **kwargs)
        if entries:
            await self._redis.xack(self.key, GROUP, *(entry.entry_id for entry in entries))
        return entries

    _set(IntentStream, "_read", read)


@bug("kill consumer.0", "freeze database 1", "kill consumer.1")
def claims_nothing_of_the_dead() -> None:
    """Only what is new is read."""
    from flashorder.consumer.stream import IntentStream

    async def claim(self: Any, idle_seconds: float) -> list[Any]:
        return []

    _set(IntentStream, "claim", claim)


@bug("freeze database 2")
def trims_what_is_pending() -> None:
    """The stream is emptied by the clock."""
    from flashorder.consumer.stream import IntentStream

    async def trim(self: Any) -> int:
        return int(await self._redis.xtrim(self.key, maxlen=0, approximate=False))

    _set(IntentStream, "trim", trim)


# -- orders


@bug()
def expires_without_compare_and_set() -> None:
    """Past its deadline an order is cancelled in whatever state it is by then."""
    from flashorder.orders import store
    from flashorder.orders.model import OrderStatus

    def guard(self: Any) -> list[str]:
        return [str(status) for status in OrderStatus if status != self.to]

    unpaid = "status = 'pending_payment'"
    assert unpaid in store.SQL["due_unpaid"], "the bug does not find its place"
    store.SQL["due_unpaid"] = store.SQL["due_unpaid"].replace(unpaid, "status <> 'cancelled'")
    _set(store.Step, "guard", guard)


@bug()
def never_expires() -> None:
    """Orders that nobody pays keep their units."""
    from flashorder.orders.service import OrderService

    _set(OrderService, "expire_due", _nothing)


@bug()
def writes_no_event() -> None:
    """A cancellation leaves no line in the timeline."""
    from flashorder.orders import store
    from flashorder.orders.model import EventType

    real = store._append

    async def append(connection: Any, moved: Any, event: Any, *rest: Any) -> None:
        if event is not EventType.CANCELLED:
            await real(connection, moved, event, *rest)

    _set(store, "_append", append)


@bug()
def keeps_the_promise_of_cancelled_units() -> None:
    """``committed`` is never lowered."""
    from flashorder.orders import store

    async def lower_committed(connection: Any, units: Any) -> None:
        return None

    _set(store, "lower_committed", lower_committed)


@bug()
def notes_a_release_that_it_did_not_do() -> None:
    """The units of some cancelled orders are given back on paper only."""
    from flashorder.reservations.holds import StoreHolds
    from flashorder.reservations.ports import ReleaseOutcome

    real = StoreHolds.release

    async def release(self: Any, sale_id: Any, order_id: uuid.UUID, *rest: Any) -> Any:
        if order_id.bytes[-1] % 2:
            return ReleaseOutcome.RELEASED
        return await real(self, sale_id, order_id, *rest)

    _set(StoreHolds, "release", release)


@bug()
def lets_late_payments_stand_without_units() -> None:
    """A late payment is not held against the stock."""
    from flashorder.reservations.holds import StoreHolds
    from flashorder.reservations.ports import ReclaimOutcome

    async def reclaim(self: Any, *args: Any) -> ReclaimOutcome:
        return ReclaimOutcome.RECLAIMED

    _set(StoreHolds, "reclaim", reclaim)


@bug()
def keeps_the_money_of_cancelled_orders() -> None:
    """Nobody is told that a refund is due."""
    from flashorder.orders import settlement

    async def refund_due(*args: Any, **kwargs: Any) -> None:
        return None

    _set(settlement, "refund_due", refund_due)


# -- payments


@bug()
def drops_captures_that_come_late() -> None:
    """A captured payment is overlooked once its order is not waiting for it any more."""
    from flashorder.payments.model import PaymentStatus, ReportOutcome
    from flashorder.payments.recording import Recorder

    real = Recorder.record_payment

    async def record_payment(self: Any, connection: Any, payment: Any, report: Any) -> Any:
        wants = await connection.fetchval(
            "SELECT status = 'pending_payment' FROM orders WHERE order_id = $1", payment.order_id
        )
        if report.status is PaymentStatus.CAPTURED and not wants:
            return ReportOutcome.UNCHANGED
        return await real(self, connection, payment, report)

    _set(Recorder, "record_payment", record_payment)


@bug()
def books_refunds_that_were_never_made() -> None:
    """The provider is not asked to give the money back."""
    from flashorder.payments.model import RefundStatus
    from flashorder.payments.providers.port import RefundReport
    from flashorder.payments.providers.simulator import SimulatorProvider

    async def refund(self: Any, request: Any) -> RefundReport:
        return RefundReport(
            reference=f"re_{request.refund_id.hex}",
            refund_id=request.refund_id,
            payment_reference=request.payment_reference,
            status=RefundStatus.SUCCEEDED,
            amount=request.amount,
        )

    _set(SimulatorProvider, "refund", refund)


@bug("manners payments drop_webhook_rate 4")
def never_asks_a_silent_provider() -> None:
    """A webhook that is lost is lost."""
    from flashorder.payments.upkeep import Upkeep

    _set(Upkeep, "ask_silent", _nothing)


# -- fulfilment


@bug()
def asks_for_a_label_by_a_fresh_key() -> None:
    """A second try is another label."""
    from flashorder.fulfilment.carriers.simulator import SimulatedCarrier

    real = SimulatedCarrier.create_label

    async def create_label(self: Any, consignment: Any) -> Any:
        fresh = dataclasses.replace(consignment, shipment_id=uuid.uuid4())
        return await real(self, fresh)

    _set(SimulatedCarrier, "create_label", create_label)


@bug()
def packs_for_cancelled_orders() -> None:
    """The warehouse is not told of a cancellation."""
    from flashorder.fulfilment.service import FulfilmentService

    async def order_cancelled(self: Any, event: Any) -> None:
        return None

    _set(FulfilmentService, "order_cancelled", order_cancelled)


# -- the outbox


@bug("kill worker.0", "kill worker.1")
def marks_events_before_they_are_handled() -> None:
    """At most once: what a death interrupts is never done."""
    from flashorder.notifications.relay import SQL, OutboxRelay

    real = OutboxRelay._take

    async def take(self: Any, events_max: int) -> Any:
        taken = await real(self, events_max)
        ids = [each.event.event_id for each in taken]
        await self._pool.execute(SQL["mark_processed"], ids)
        return taken

    _set(OutboxRelay, "_take", take)


@bug("reset worker>store", "refuse worker>store 1.5")
def gives_failing_events_up() -> None:
    """A handler that failed is not called again."""
    from flashorder.notifications.relay import OutboxRelay

    real = OutboxRelay._mark

    async def mark(self: Any, done: Any) -> Any:
        return await real(self, [dataclasses.replace(each, error="") for each in done])

    _set(OutboxRelay, "_mark", mark)


# -- tools of the planters


def _set(owner: Any, name: str, value: Any) -> None:
    assert hasattr(owner, name), f"{owner.__name__} has no {name} any more"
    setattr(owner, name, value)


async def _nothing(self: Any, *args: Any) -> int:
    return 0


def _again(owner: type, name: str) -> None:
    """Every call is made twice, as a caller does that has lost the first answer."""
    real: Callable[..., Awaitable[Any]] = getattr(owner, name)

    async def twice(self: Any, *args: Any, **kwargs: Any) -> Any:
        await real(self, *args, **kwargs)
        return await real(self, *args, **kwargs)

    _set(owner, name, twice)


def _each_event_twice() -> None:
    """Which the outbox may do: it promises at least once."""
    from flashorder.orders.units import OrderUnits

    _again(OrderUnits, "order_cancelled")


def _answer_failures_of_purchases(failure: type[Exception], answer: Callable[[Any], Any]) -> None:
    """Where the batcher settles a purchase with ``failure``, it gets this answer instead."""
    from flashorder.reservations.batching import Batcher

    real = Batcher.put

    def put(self: Any, purchase: Any, settle: Any) -> None:
        def instead(outcome: Any) -> None:
            settle(answer(purchase) if isinstance(outcome, failure) else outcome)

        real(self, purchase, instead)

    _set(Batcher, "put", put)
