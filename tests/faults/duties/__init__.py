"""Everything that goes on in the house beside the sale: so that all of its I/O is come by.

Each duty is a round of calls that goes on again and again, whatever fails. What they do is real,
and counts in the checks. ``ROUNDS`` is all of them.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from tests.faults.duties import (
    accounts,
    counting,
    desk,
    meddling,
    products,
    rarely,
    selling,
    warehouse,
)
from tests.faults.duties.staff import AWAY, Interrupted, Round, Staff

PAUSE_SECONDS = 0.3
ROUNDS: tuple[Round, ...] = (
    accounts.sign_up_and_out,
    counting.correct_a_drift,
    counting.count_stock,
    desk.look_after_orders,
    desk.look_after_payments,
    desk.change_minds,
    desk.watch_a_stream,
    meddling.change_manners,
    meddling.forget_things,
    meddling.lose_the_line,
    meddling.poison_the_outbox,
    products.keep_the_catalogue,
    rarely.come_and_go,
    rarely.keep_a_webhook_that_cannot_be_applied,
    rarely.lose_sight_of_a_payment,
    rarely.pay_for_what_is_promised_elsewhere,
    selling.from_draft_to_settled,
    selling.by_the_clock,
    selling.build_anew,
    selling.refuse_at_the_database,
    warehouse.pack_by_hand,
    warehouse.take_labels_back,
)


async def work(staff: Staff, stopping: asyncio.Event) -> None:
    """All rounds, again and again, until ``stopping``; what is begun then is brought to its end."""
    async with asyncio.TaskGroup() as group:
        for each in ROUNDS:
            group.create_task(_go_on(each, staff, stopping), name=f"duty {each.__name__}")


async def _go_on(duty: Round, staff: Staff, stopping: asyncio.Event) -> None:
    name = duty.__name__
    staff.rounds_done[name] = 0
    while not stopping.is_set():
        with suppress(Interrupted, *AWAY):
            await duty(staff)
            staff.rounds_done[name] += 1
        with suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), PAUSE_SECONDS)
