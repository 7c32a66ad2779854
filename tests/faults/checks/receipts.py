"""A receipt is honoured, or refused for a reason that was true; it is one order with its key."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from tests.faults.checks.losses import lost_acknowledgements_of, lost_orders
from tests.faults.checks.tokens import token_in
from tests.faults.history import History, Outcome
from tests.faults.snapshot import Snapshot

TRUE_REFUSALS = frozenset({"sold_out", "limit_reached"})
"""Whether they were true is for the checks of real time."""
SAYS_NOTHING = frozenset({"rate_limited", "overloaded"})
"""Said before anybody looks at the receipt."""
SAY_NOTHING_OF_IT = SAYS_NOTHING | {"receipt_invalid", "sale_not_found"}


def what_is_honoured_is_an_order(history: History, end: Snapshot) -> Iterator[str]:
    """Told of by a receipt: an order of that buyer, with what the receipt promised."""
    orders = {order.order_id: order for order in end.orders}
    letters = {letter.order_id for letter in end.dead_letters if letter.order_id}
    lost = lost_orders(end)
    for call in history.of("present"):
        if call.outcome is not Outcome.OK:
            continue
        order_id, promised = str(call.body.get("order_id")), call.asked.body
        if token_in(order_id) != token_in(str(promised["order_id"])):
            yield f"{call}: promised {promised['order_id']}, told of {order_id}"
        order = orders.get(order_id)
        if order is None:
            if order_id not in letters and order_id not in lost:
                yield f"{call}: its order {order_id} is nowhere"
            continue
        wanted = (call.asked.buyer, promised["sku"], promised["quantity"])
        kept = (order.buyer_id, order.sku, order.quantity)
        total = promised["unit_price"]["amount"] * promised["quantity"]
        if (wanted, total) != (kept, order.total_amount):
            yield (f"{call}: promised {wanted} for {total}, kept {kept} for {order.total_amount}")


def no_true_receipt_is_denied(history: History, _: Snapshot) -> Iterator[str]:
    """Only what is left and the buyer's limit stand against one; while a store is lost, nothing."""
    losses = history.losses()
    for call in history.of("present"):
        if call.outcome is not Outcome.REFUSED or call.code in TRUE_REFUSALS | SAYS_NOTHING:
            continue
        if call.code == "sale_not_found" and any(
            lost_at <= call.answered_at and call.asked_at <= back_at for lost_at, back_at in losses
        ):
            continue
        yield f"{call}: refused for no good reason"


def no_receipt_serves_another(history: History, end: Snapshot) -> Iterator[str]:
    """Whoever presents somebody else's is told that and nothing else, and has no order of it."""
    owners = {(order.buyer_id, token_in(order.order_id)) for order in end.orders}
    for call in history.of("steal"):
        stolen = token_in(str(call.asked.body["order_id"]))
        if call.outcome is Outcome.OK or (call.asked.buyer, stolen) in owners:
            yield f"{call}: honoured for a stranger"
        elif call.outcome is Outcome.REFUSED and call.code not in SAY_NOTHING_OF_IT:
            yield f"{call}: a stranger was told more than that it is not theirs"


def a_receipt_takes_units_once(history: History, end: Snapshot) -> Iterator[str]:
    """By the store's log: without a loss between them, no two entries are of one token."""
    presented = {
        token_in(str(call.asked.body["order_id"]))
        for call in history.of("present")
        if call.outcome is not Outcome.REFUSED
    }
    if not presented:
        return
    trims = (*end.log.flushes, *end.log.early_trims)
    seen: Counter[tuple[str, int]] = Counter()
    for entry in end.log.entries:
        token = token_in(entry.order_id)
        if token in presented:
            # By the losses before it: two with the same count have none between them.
            seen[token, sum(at < entry.position for at in trims)] += 1
    for (token, _), times in seen.items():
        if times > 1:
            yield f"token {token} took its units {times} times"


def receipts_told(history: History, end: Snapshot) -> dict[str, int]:
    """For the report: acknowledgements that were lost, those that are orders again, and answers."""
    lost = lost_acknowledgements_of(history, end)
    tokens = {token_in(order.order_id) for order in end.orders}
    answers = Counter(call.code or str(call.outcome) for call in history.of("present"))
    return {
        "lost": len(lost),
        "orders_again": sum(token_in(order_id) in tokens for order_id in lost),
        **{f"presented_{what}": count for what, count in sorted(answers.items())},
    }
