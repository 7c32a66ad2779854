"""The checker is judged: a sound run passes, and each planted violation is told by its check."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from tests.faults.checks import CHECKS, judge
from tests.faults.checks.losses import lost_acknowledgements
from tests.faults.checks.receipts import receipts_told
from tests.faults.history import Call, Outcome
from tests.faults.small_world import PRICE, SALE, SKU, STOCK, World, buyer
from tests.faults.snapshot import (
    Commitment,
    DeadLetter,
    Event,
    Label,
    Movement,
    Overdue,
    OwnFinding,
    Recheck,
    Shipment,
    Stream,
    Trim,
)
from tests.faults.store_log import Entry, HoldStep, Step, Transaction

Plant = Callable[[World], None]
PLANTED: dict[str, tuple[str, Plant]] = {}
SHIPPED, CANCELLED, UNTOLD, PENDING, LAST = range(5)
"""The orders of the sound world."""


def sound() -> World:
    """Sold, shipped, cancelled, refunded, refused, unknown: everything that may happen."""
    world = World(units=6)
    shipped = world.sell(1, quantity=2)
    world.pay(shipped)
    world.ship(shipped)
    given_back = world.sell(2)
    payment = world.pay(given_back)
    world.call("cancel", buyer(2), "c", subject=given_back.order_id)
    world.cancel(given_back)
    world.refund(payment)
    world.sell(3, told=False)
    world.sell(4)
    world.call("buy", buyer(5), "k5", Outcome.UNKNOWN)
    world.call("buy", buyer(1), "more", Outcome.REFUSED, code="limit_reached")
    world.sell(6, quantity=2)
    world.sold_out(7)
    world.end.rechecks = [Recheck(what="a second reconciliation", changed=[])]
    world.end.streams = [Stream(shard=0, pending=0, unread=0)]
    return world


def told(world: World) -> dict[str, tuple[str, ...]]:
    """The checks that do not hold, with their examples."""
    verdicts = judge(world.history, world.end)
    return {each.check: each.examples for each in verdicts if each.violations}


def planted(check: str) -> Callable[[Plant], Plant]:
    """``check`` must tell of what this does to the sound world."""

    def register(plant: Plant) -> Plant:
        PLANTED[plant.__name__] = (check, plant)
        return plant

    return register


# -- units


@planted("stock.units_are_all_there")
def a_unit_is_lost_at_the_front(world: World) -> None:
    world.end.front[0].sold -= 1


@planted("stock.units_are_all_there")
def a_unit_appears_in_the_stock(world: World) -> None:
    world.end.front[0].stock += 1


@planted("stock.units_are_all_there")
def a_top_up_was_lost(world: World) -> None:
    world.end.items[0].top_ups.append(3)


@planted("stock.units_are_all_there")
def a_dead_letter_holds_units_that_were_sold_again(world: World) -> None:
    world.end.dead_letters.append(
        DeadLetter(shard=0, intent=(1, 1), order_id=None, sale_id=SALE, sku=SKU, quantity=1,
                   status="held", released=False)
    )  # fmt: skip


@planted("stock.stock_is_never_below_zero")
def the_stock_was_below_zero_for_a_moment(world: World) -> None:
    world.end.log.stock[STOCK][3:3] = [Step(4, -1)]


@planted("stock.each_step_moves_units_whole")
def an_entry_without_its_units(world: World) -> None:
    world.end.log.unbalanced.append(Transaction(7, "entries of 1 unit, 0 taken"))


@planted("stock.committed_never_exceeds_allotted")
def more_was_committed_for_a_moment(world: World) -> None:
    world.end.commitments.append(Commitment(sale_id=SALE, sku=SKU, committed=7, allotted=6))


@planted("stock.committed_never_exceeds_allotted")
def committed_was_not_lowered(world: World) -> None:
    world.end.items[0].committed += 1


# -- promises


@planted("promises.each_acceptance_is_one_order")
def an_accepted_order_is_lost(world: World) -> None:
    del world.orders[PENDING]


@planted("promises.each_acceptance_is_one_order")
def an_accepted_order_is_another(world: World) -> None:
    world.orders[PENDING].quantity += 1


@planted("promises.each_acceptance_is_one_order")
def an_accepted_order_costs_more(world: World) -> None:
    world.orders[PENDING].total_amount += 1


@planted("promises.a_refusal_is_no_order")
def a_refused_purchase_is_an_order(world: World) -> None:
    call = world.calls.pop()
    world.sell(7, key=call.asked.key)
    world.calls[-1] = call


@planted("promises.nobody_has_what_nobody_asked_for")
def an_order_of_another_buyer(world: World) -> None:
    world.orders[PENDING].buyer_id = buyer(7)


@planted("promises.retries_agree")
def a_retry_makes_another_order(world: World) -> None:
    body = world.answer(world.orders[LAST])
    world.call("buy", buyer(4), "k", body=body)


@planted("promises.retries_agree")
def a_retry_is_refused_after_all(world: World) -> None:
    world.call("buy", buyer(4), "k", Outcome.REFUSED, code="sold_out", quantity=9)


@planted("promises.nobody_has_what_nobody_asked_for")
def an_order_out_of_nothing(world: World) -> None:
    order = world.sell(8)
    world.calls = [call for call in world.calls if call.asked.buyer != order.buyer_id]


@planted("promises.what_was_sold_is_visible")
def an_order_cannot_be_read_after_the_202(world: World) -> None:
    world.call("look", buyer(4), "", Outcome.REFUSED, code="order_not_found",
               subject=world.orders[PENDING].order_id)  # fmt: skip


@planted("promises.a_cancellation_stands")
def a_cancelled_order_lives(world: World) -> None:
    world.call("cancel", buyer(4), "c", subject=world.orders[PENDING].order_id)


@planted("promises.units_go_back_once")
def a_hold_is_released_twice(world: World) -> None:
    order_id = world.orders[CANCELLED].order_id
    world.end.log.holds[order_id].append(HoldStep(9, order_id, False, 1))


@planted("promises.units_go_back_once")
def a_live_order_was_released(world: World) -> None:
    order_id = world.orders[PENDING].order_id
    world.end.log.holds[order_id].append(HoldStep(9, order_id, False, 1))


@planted("promises.units_go_back_once")
def a_cancelled_order_was_never_released(world: World) -> None:
    world.end.log.holds[world.orders[CANCELLED].order_id].pop()


# -- receipts


@planted("receipts.what_is_honoured_is_an_order")
def a_receipt_was_honoured_and_is_nowhere(world: World) -> None:
    world.present(world.orders[PENDING])
    del world.orders[PENDING]


@planted("receipts.what_is_honoured_is_an_order")
def a_receipt_was_honoured_at_another_price(world: World) -> None:
    world.present(world.orders[PENDING]).asked.body["unit_price"] = {"amount": PRICE - 1}


@planted("receipts.what_is_honoured_is_an_order")
def a_receipt_was_answered_with_another_order(world: World) -> None:
    world.present(world.orders[PENDING]).body["order_id"] = world.orders[LAST].order_id


@planted("receipts.no_true_receipt_is_denied")
def a_true_receipt_was_called_invalid(world: World) -> None:
    world.present(world.orders[PENDING], Outcome.REFUSED, code="receipt_invalid")


@planted("receipts.no_true_receipt_is_denied")
def a_sale_that_was_never_lost_was_not_found(world: World) -> None:
    world.present(world.orders[PENDING], Outcome.REFUSED, code="sale_not_found")


@planted("receipts.no_receipt_serves_another")
def a_receipt_was_honoured_for_a_stranger(world: World) -> None:
    world.present(world.orders[PENDING], what="steal", who=buyer(9))


@planted("receipts.no_receipt_serves_another")
def a_stranger_was_told_what_the_key_has_bought(world: World) -> None:
    order = world.orders[PENDING]
    world.present(order, Outcome.REFUSED, code="sold_out", what="steal", who=buyer(9))


@planted("receipts.a_receipt_takes_units_once")
def a_receipt_took_its_units_again(world: World) -> None:
    order = world.orders[PENDING]
    world.present(order)
    world.end.log.entries.append(Entry(9, 0, (7, 0), order.order_id, buyer(4), SALE, SKU, 1))


@planted("real_time.sold_out_was_true")
def a_receipt_was_refused_while_there_was_stock(world: World) -> None:
    world.present(world.orders[PENDING], Outcome.REFUSED, code="sold_out")
    world.calls.insert(0, _earlier(world.calls.pop(), before=world.calls[0]))


# -- limits


@planted("limits.no_buyer_is_ever_over_the_limit")
def a_buyer_held_more_for_a_moment(world: World) -> None:
    steps = world.end.log.holdings[f"0/{SALE}/{buyer(4)}/{SKU}"]
    steps.append(Step(7, 3))


@planted("limits.no_buyer_is_ever_over_the_limit")
def a_buyer_has_more_in_live_orders(world: World) -> None:
    world.orders[LAST].buyer_id = buyer(1)


@planted("limits.buyers_hold_what_their_orders_take")
def a_released_unit_still_counts_against_its_buyer(world: World) -> None:
    world.end.log.holdings[f"0/{SALE}/{buyer(2)}/{SKU}"].pop()


@planted("limits.one_order_a_key")
def two_orders_have_one_token(world: World) -> None:
    order = world.orders[LAST]
    order.order_id = "ffffffff-ffff" + world.orders[PENDING].order_id[13:]


# -- streams


@planted("streams.each_intent_is_applied_once")
def an_intent_was_never_applied(world: World) -> None:
    world.end.log.entries.append(Entry(9, 0, (7, 0), "x", buyer(9), SALE, SKU, 1))


@planted("streams.each_intent_is_applied_once")
def an_intent_is_an_order_and_a_dead_letter(world: World) -> None:
    intent = world.orders[PENDING].intent
    assert intent is not None
    world.end.dead_letters.append(
        DeadLetter(shard=0, intent=intent, order_id=None, sale_id=None, sku=None, quantity=None,
                   status="held", released=True)
    )  # fmt: skip


@planted("streams.each_intent_is_applied_once")
def an_order_of_no_entry(world: World) -> None:
    world.orders[PENDING].intent = (5, 5)


@planted("streams.nothing_is_trimmed_that_was_not_applied")
def an_unread_entry_was_trimmed(world: World) -> None:
    world.end.log.removed.append((9, 0, (7, 0)))


@planted("streams.what_was_trimmed_early_is_told")
def a_trimmed_stream_is_told_by_nobody(world: World) -> None:
    world.end.trims.append(Trim(shard=0, unread=2, told_by=[]))


@planted("streams.each_intent_is_applied_once")
def an_entry_is_missing_that_was_accepted_after_the_loss(world: World) -> None:
    world.end.log.flushes.append(2)
    del world.orders[LAST]


# -- lives


@planted("lives.timelines_are_paths")
def a_version_is_missing(world: World) -> None:
    del world.orders[SHIPPED].events[1]


@planted("lives.timelines_are_paths")
def a_step_that_the_machine_forbids(world: World) -> None:
    world.orders[SHIPPED].events[3] = Event(version=4, type="placed")


@planted("lives.timelines_are_paths")
def shipped_before_it_was_paid(world: World) -> None:
    events = world.orders[SHIPPED].events
    events[1].type = "shipped"


@planted("lives.timelines_are_paths")
def a_state_without_its_event(world: World) -> None:
    world.orders[PENDING].status = "cancelled"


@planted("lives.money_and_orders_agree")
def a_cancelled_order_keeps_the_money(world: World) -> None:
    world.end.provider_refunds.clear()


@planted("lives.money_and_orders_agree")
def two_captures_are_kept(world: World) -> None:
    payment = world.pay(world.orders[SHIPPED])
    payment.keeps_order = False


@planted("lives.money_and_orders_agree")
def more_went_back_than_was_taken(world: World) -> None:
    world.end.provider_refunds.append(Movement(payment="ref1", ours="r2", amount=PRICE))


@planted("lives.money_and_orders_agree")
def a_paid_order_without_money(world: World) -> None:
    world.end.captures = [each for each in world.end.captures if each.payment != "ref0"]


@planted("lives.our_captures_are_the_providers")
def a_capture_that_we_do_not_know(world: World) -> None:
    world.end.payments[0].status = "failed"


@planted("lives.our_captures_are_the_providers")
def a_capture_that_never_was(world: World) -> None:
    world.end.captures = [each for each in world.end.captures if each.payment != "ref1"]


@planted("lives.our_refunds_are_the_providers")
def a_refund_that_never_was(world: World) -> None:
    world.end.provider_refunds.clear()


@planted("lives.shipped_orders_have_left")
def two_parcels_of_one_order(world: World) -> None:
    order_id = world.orders[SHIPPED].order_id
    world.end.shipments.append(
        Shipment(shipment_id="again", order_id=order_id, status="pending", tracking_number=None)
    )


@planted("lives.shipped_orders_have_left")
def a_parcel_of_an_unpaid_order(world: World) -> None:
    world.end.shipments[0].order_id = world.orders[PENDING].order_id


@planted("lives.labels_are_of_live_orders")
def a_label_that_is_no_shipments(world: World) -> None:
    world.end.labels[0].reference = "X"


@planted("lives.labels_are_of_live_orders")
def a_label_of_a_cancelled_order(world: World) -> None:
    order_id = world.orders[CANCELLED].order_id
    world.end.shipments.append(
        Shipment(shipment_id="s", order_id=order_id, status="cancelled", tracking_number="T9")
    )
    world.end.labels.append(
        Label(reference="s", tracking_number="T9", status="active", progress="label_created")
    )


# -- real time


@planted("real_time.sold_out_was_true")
def sold_out_while_there_was_stock(world: World) -> None:
    world.calls.insert(0, _earlier(world.calls[-1], before=world.calls[0]))


@planted("real_time.limit_reached_was_true")
def limit_reached_without_holding_anything(world: World) -> None:
    world.call("buy", buyer(9), "x", Outcome.REFUSED, code="limit_reached")


@planted("real_time.order_of_the_stream_is_real")
def an_entry_stands_before_one_that_was_answered_before_it(world: World) -> None:
    entries = world.end.log.entries
    first, last = entries[0], entries[-1]
    entries[0] = Entry(last.position, *_rest(first))
    entries[-1] = Entry(first.position, *_rest(last))


# -- quiet, and again


@planted("quiet.everything_wanted_was_sold")
def a_unit_is_left_although_wanted(world: World) -> None:
    world.end.front[0].stock += 1


@planted("quiet.everything_wanted_was_sold")
def buyers_were_never_told_that_it_is_sold_out(world: World) -> None:
    world.end.demand_was_above_supply = False


@planted("quiet.nothing_is_left_to_do")
def an_entry_is_pending(world: World) -> None:
    world.end.streams[0].pending = 1


@planted("quiet.nothing_is_left_to_do")
def something_is_overdue(world: World) -> None:
    world.end.overdue.append(Overdue(what="refunds pending", count=1))


@planted("quiet.no_answer_is_an_internal_error")
def a_buyer_is_answered_500(world: World) -> None:
    call = world.call("look", buyer(1), "", Outcome.UNKNOWN, code="internal_error")
    assert call.answered is not None
    world.calls[-1] = Call(call.asked, msgspec.structs.replace(call.answered, status=500))


@planted("quiet.no_answer_is_an_internal_error")
def an_operator_is_answered_500(world: World) -> None:
    world.end.internal_errors.append("GET admin/orders")


@planted("quiet.it_settles_in_time")
def it_took_too_long(world: World) -> None:
    world.end.settled_seconds = 30.5


@planted("quiet.the_service_agrees")
def the_service_finds_something_itself(world: World) -> None:
    world.end.own_findings.append(OwnFinding(check="front.x", violations=1, example="{}"))


@planted("repeats.doing_it_again_changes_nothing")
def a_second_time_changed_something(world: World) -> None:
    world.end.rechecks.append(Recheck(what="webhooks once more", changed=["payments"]))


def _earlier(call: Call, before: Call) -> Call:
    """The same call, over and done before anything else began."""
    assert call.answered is not None
    at = before.asked_at
    return Call(
        msgspec.structs.replace(call.asked, at=at - 2.0, number=0),
        msgspec.structs.replace(call.answered, at=at - 1.0, number=0),
    )


def _rest(entry: Entry) -> tuple[int, tuple[int, int], str, str, str, str, int]:
    return (
        entry.shard, entry.intent, entry.order_id, entry.buyer_id, entry.sale_id, entry.sku,
        entry.quantity,
    )  # fmt: skip


def test_a_sound_run_passes() -> None:
    assert told(sound()) == {}


@pytest.mark.parametrize("name", PLANTED)
def test_what_was_planted_is_told(name: str) -> None:
    check, plant = PLANTED[name]
    world = sound()
    plant(world)
    found = told(world)
    assert check in found, found
    assert all(found[check])


def test_each_check_has_something_planted_for_it() -> None:
    assert {check for check, _ in PLANTED.values()} == set(CHECKS)


def test_a_unit_that_came_back_between_makes_a_later_sale_true() -> None:
    """Sold out, then a release, then a success: no contradiction."""
    world = World(units=1)
    first = world.sell(1)
    world.sold_out(2)
    world.cancel(first)
    world.sell(2, key="again")
    assert "real_time.sold_out_was_true" not in told(world)


def test_receipts_of_what_is_there_are_no_violation() -> None:
    world = sound()
    for order in (world.orders[SHIPPED], world.orders[CANCELLED], world.orders[PENDING]):
        world.present(order)
        world.present(order, Outcome.UNKNOWN)
        world.present(order, Outcome.REFUSED, code="receipt_invalid", what="steal", who=buyer(9))
    assert told(world) == {}


@pytest.mark.parametrize("late", [True, False])
def test_what_was_lost_and_is_honoured_is_counted_as_both(late: bool) -> None:
    """Also where its first entry had been in a consumer's hands, and came ``late``."""
    world = World(units=1)
    order = world.sell(1)
    log, item = world.end.log, f"0/{SALE}/{buyer(1)}/{SKU}"
    log.flushes.append(log.length + 1)
    log.length += 2
    log.holdings[item].append(Step(log.length - 1, 0))
    log.entries.append(Entry(log.length, 0, (9, 9), order.order_id, buyer(1), SALE, SKU, 1))
    log.holdings[item].append(Step(log.length, 1))
    log.holds[order.order_id] = [HoldStep(log.length, order.order_id, True, 1)]
    if not late:
        order.intent = (9, 9)
    world.present(order)
    world.sold_out(2)
    assert told(world) == {}
    said = receipts_told(world.history, world.end)
    lost = 0 if late else 1
    assert said == {"lost": lost, "orders_again": lost, "presented_ok": 1}


def test_one_unit_left_is_sold_out_for_two() -> None:
    world = World(units=1)
    world.sold_out(2, quantity=2)
    world.sell(1)
    assert told(world) == {}


def test_a_call_that_spans_the_moment_is_given_the_benefit_of_it() -> None:
    """The refusal was under way while the last unit was taken: either order may be the true one."""
    world = World(units=1)
    refused = world.sold_out(2)
    world.sell(1)
    sold = world.calls[1]
    world.calls[1] = Call(
        msgspec.structs.replace(sold.asked, at=refused.asked_at + 0.1), sold.answered
    )
    assert told(world) == {}


def _everything(world: World) -> None:
    world.end.log.flushes.append(world.end.log.length + 1)


def _the_last_entry(world: World) -> None:
    log = world.end.log
    log.early_trims.append(log.length + 1)
    log.removed.append((log.length + 1, 0, log.entries[-1].intent))


@pytest.mark.parametrize("lose", [_everything, _the_last_entry])
def test_what_went_down_with_the_store_is_counted_and_no_violation(
    lose: Callable[[World], None],
) -> None:
    world = World(units=2)
    world.sell(1)
    lost = world.sell(2)
    lose(world)
    world.orders.remove(lost)
    world.end.items[0].committed = world.end.front[0].sold = 1
    world.end.front[0].stock = 1
    world.end.log.holds.clear()
    world.end.log.holdings[f"0/{SALE}/{buyer(2)}/{SKU}"].append(Step(9, 0))
    world.sell(3, key="again")
    assert told(world) == {}
    assert lost_acknowledgements(world.history, world.end) == 1
