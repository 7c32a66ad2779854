"""An operator's decision on an entry put aside happens once."""

from __future__ import annotations

import asyncio
import uuid

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from flashorder.consumer import Consumer
from flashorder.consumer.dead_letters import DeadLetters
from flashorder.consumer.jobs import subscriptions
from flashorder.infra.postgres.pool import Pool
from flashorder.kernel.errors import Conflict, InvalidState, NotFound
from flashorder.kernel.identifiers import new_id
from flashorder.notifications.relay import OutboxRelay
from tests.consumer.shop import Bought, Shop, settings


@pytest_asyncio.fixture
async def shop(pool: Pool, redis: Redis) -> Shop:
    """The front has ten units, the books have none: what the last guard is for."""
    return await Shop.open(pool, redis, 10, allotted=0)


@pytest_asyncio.fixture
async def letters(shop: Shop) -> DeadLetters:
    return DeadLetters(shop.pool, shop.holds)


async def put_aside(shop: Shop) -> tuple[uuid.UUID, Bought]:
    bought = await shop.place(2)
    letter = await shop.pool.fetchval(
        "SELECT dead_letter_id FROM dead_letters WHERE order_id = $1", bought.order_id
    )
    assert letter is not None
    return letter, bought


async def relay(shop: Shop, letters: DeadLetters) -> None:
    handlers = {topic: [handler] for topic, handler in subscriptions(letters).items()}
    await OutboxRelay(shop.pool, handlers, settings()).relay_all()


async def test_its_units_stay_taken(shop: Shop, letters: DeadLetters) -> None:
    letter, bought = await put_aside(shop)
    assert await shop.remaining() == 8
    row = await letters.read(letter)
    assert (row["status"], row["quantity"], row["buyer_id"]) == ("held", 2, bought.buyer_id)


async def test_a_retry_makes_the_order_once_even_if_asked_for_by_many(
    shop: Shop, letters: DeadLetters
) -> None:
    letter, bought = await put_aside(shop)
    await shop.pool.execute("UPDATE sale_items SET allotted = 10")
    answers = await asyncio.gather(
        *(letters.retry(letter, new_id()) for _ in range(5)), return_exceptions=True
    )
    assert answers.count(None) == 1
    assert all(isinstance(answer, InvalidState) for answer in answers if answer is not None)
    assert await shop.pool.fetchval("SELECT order_id FROM orders") == bought.order_id
    assert await shop.committed() == 2
    # The entry itself, delivered once more, finds its order.
    await shop.redis.xgroup_setid("{s0}:intents", "orders", "0")
    assert await Consumer(shop.redis, shop.pool, settings()).drain_all() == 1
    assert await shop.committed() == 2
    assert await shop.count("dead_letters") == 1
    assert await shop.violations() == []


async def test_a_retry_that_fails_again_leaves_it_held(shop: Shop, letters: DeadLetters) -> None:
    letter, _ = await put_aside(shop)
    with pytest.raises(Conflict) as raised:
        await letters.retry(letter, new_id())
    assert raised.value.code == "dead_letter_refused"
    assert (await letters.read(letter))["status"] == "held"
    assert await shop.count("orders") == 0


async def test_discarding_gives_the_units_back_once(shop: Shop, letters: DeadLetters) -> None:
    letter, _ = await put_aside(shop)
    await letters.discard(letter, new_id())
    with pytest.raises(InvalidState):
        await letters.discard(letter, new_id())
    with pytest.raises(InvalidState):
        await letters.retry(letter, new_id())
    assert await shop.remaining() == 8  # not before the relay
    await relay(shop, letters)
    await shop.pool.execute("UPDATE outbox SET processed_at = NULL, available_at = now()")
    await relay(shop, letters)
    assert await shop.remaining() == 10
    assert (await letters.read(letter))["released_at"] is not None
    # Delivered again after that, it does not become an order without units.
    await shop.pool.execute("UPDATE sale_items SET allotted = 10")
    await shop.redis.xgroup_setid("{s0}:intents", "orders", "0")
    await Consumer(shop.redis, shop.pool, settings()).drain_all()
    assert await shop.count("orders") == 0


async def test_discarding_an_entry_whose_order_stands_keeps_its_units(
    shop: Shop, letters: DeadLetters
) -> None:
    await shop.pool.execute("UPDATE sale_items SET allotted = 10")
    bought = await shop.place(2)
    await shop.add_entry(1, order_id=bought.order_id.bytes)
    await Consumer(shop.redis, shop.pool, settings()).drain_all()
    (row,) = await letters.page("held", None, 10)
    await letters.discard(row["dead_letter_id"], new_id())
    await relay(shop, letters)
    assert await shop.remaining() == 8
    assert await shop.committed() == 2


async def test_unknown_and_undecodable_ones(shop: Shop, letters: DeadLetters) -> None:
    with pytest.raises(NotFound):
        await letters.retry(new_id(), new_id())
    await shop.add_entry(1, intent=b"none")
    await Consumer(shop.redis, shop.pool, settings()).drain_all()
    (row,) = await letters.page(None, None, 10)
    with pytest.raises(Conflict):
        await letters.retry(row["dead_letter_id"], new_id())
    await letters.discard(row["dead_letter_id"], new_id())
    assert await shop.count("outbox") == 0
    assert await letters.page("held", None, 10) == []
