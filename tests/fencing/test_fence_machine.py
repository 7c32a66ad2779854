"""Marks and fences against a model: what a server says of itself decides, and no id comes twice."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from redis.asyncio import Redis

from flashorder.consumer.stream import GROUP
from flashorder.fencing.lives import Lives
from flashorder.fencing.model import Fenced, GivenUp, Marked, numbers_of
from flashorder.infra.redis import keys
from flashorder.infra.redis.connection import connect_redis
from flashorder.infra.redis.lives import NO_ENTRY, Told
from flashorder.reservations.records import ReserveCode
from tests.reservations.front import SyncFront, a_purchase, a_sale, an_item

T = TypeVar("T")
INTENTS = keys.intents(0)
STRANGER = b"0" * 40
RIGHT = st.sampled_from([True, True, True, False])
"""Whether the server that answers is the one that was looked at."""


@dataclass
class Stand:
    """The store, spoken to in both ways."""

    runner: asyncio.Runner
    direct: redis.Redis
    client: Redis


@pytest.fixture
def stand(redis_url: str) -> Iterator[Stand]:
    with asyncio.Runner() as runner, redis.Redis.from_url(redis_url) as direct:

        async def connected() -> Redis:
            return connect_redis(redis_url)

        client = runner.run(connected())
        yield Stand(runner, direct, client)
        runner.run(client.aclose())


class FenceMachine(RuleBasedStateMachine):
    """One sale; ``generation`` is the one that sells, None where the sale is fenced or gone."""

    stand: Stand

    @initialize()
    def begin(self) -> None:
        self.direct = self.stand.direct
        self.direct.flushall()
        self.lives = Lives(self.stand.client, 0)
        self.identity = self.run(self.lives.check(Told())).identity
        self.sale = a_sale(an_item(quantity=100, per_buyer_limit=100))
        self.is_there, self.generation = False, None
        self.highest_generation = 0
        self.gave_up = False
        self.last_id, self.entries = NO_ENTRY, 0
        self.open_anew()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.stand.runner.run(work)

    def who(self, right: bool) -> bytes:
        return self.identity if right else STRANGER

    @property
    def front(self) -> SyncFront:
        generation = self.generation or max(1, self.highest_generation)
        return SyncFront(self.direct, replace(self.sale, generation=generation))

    @rule()
    def open_anew(self) -> None:
        self.highest_generation += 1
        opened = replace(self.sale, generation=self.highest_generation)
        assert SyncFront(self.direct, opened).open() == 1
        self.is_there, self.generation = True, self.highest_generation

    @rule(buyers=st.integers(1, 3))
    def buy(self, buyers: int) -> None:
        wishes = [a_purchase(self.front.sale) for _ in range(buyers)]
        codes = {ReserveCode(code) for code, _ in self.front.reserve(*wishes)}
        if not self.is_there:
            assert codes == {ReserveCode.SALE_NOT_FOUND}
        elif self.generation is None:
            assert codes == {ReserveCode.STALE_GENERATION}
        else:
            assert codes == {ReserveCode.ACCEPTED}
            self.entries += buyers
            self.raised_to(self.stream()["last-generated-id"])

    @rule()
    def change_and_top_up(self) -> None:
        """Nothing that names a generation finds a fenced sale."""
        changed = self.front.change(9, "open", self.sale.items[0].sku, 100)
        added = self.front.top_up(bytes(16), self.sale.items[0].sku, 0)
        if self.generation is None:
            assert (changed, added) == (3, 4)
        else:
            assert changed in (1, 2)
            assert added in (1, 2)

    @rule(right=RIGHT)
    def fence(self, right: bool) -> None:
        outcome = self.run(self.lives.fence(self.who(right), self.sale.sale_id))
        if not right:
            assert outcome is Fenced.MOVED
        elif self.gave_up:
            assert outcome is Fenced.GIVEN_UP
        elif not self.is_there:
            assert outcome is Fenced.SALE_MISSING
        elif self.generation is None:
            assert outcome is Fenced.ALREADY
        else:
            assert outcome is Fenced.FENCED
            self.generation = None

    @rule(right=RIGHT, ahead_ms=st.integers(-1000, 1000))
    def give_up(self, right: bool, ahead_ms: int) -> None:
        milliseconds, _ = numbers_of(self.last_id)
        known = b"%d-1" % max(0, milliseconds + ahead_ms)
        outcome = self.run(self.lives.give_up(self.who(right), known))
        if not right:
            assert outcome is GivenUp.MOVED
            return
        assert outcome is (GivenUp.ALREADY if self.gave_up else GivenUp.GIVEN_UP)
        self.gave_up = True
        self.last_id = max(self.last_id, known, key=numbers_of)

    @rule(right=RIGHT)
    def mark(self, right: bool) -> None:
        outcome, marked = self.run(self.lives.mark(self.who(right)))
        if not right:
            assert (outcome, marked) == (Marked.MOVED, NO_ENTRY)
            return
        assert outcome is Marked.MARKED
        self.raised_to(marked)

    def raised_to(self, entry_id: bytes) -> None:
        assert numbers_of(entry_id) > numbers_of(self.last_id)
        self.last_id = entry_id

    @rule(everything=st.booleans())
    def lose(self, everything: bool) -> None:
        """The store loses its stream, or all that it had; the server is the same."""
        if everything:
            self.direct.flushall()
            self.is_there, self.generation, self.gave_up = False, None, False
        else:
            self.direct.delete(INTENTS)
        self.last_id, self.entries = NO_ENTRY, 0

    def stream(self) -> dict[str, Any]:
        return self.direct.xinfo_stream(INTENTS)

    @invariant()
    def the_store_is_the_model(self) -> None:
        if not hasattr(self, "entries"):
            return
        if self.direct.exists(INTENTS):
            told = self.stream()
            assert (told["last-generated-id"], told["length"]) == (self.last_id, self.entries)
        else:
            assert self.last_id == NO_ENTRY
        sale = self.direct.hgetall(self.front.keys.sale)
        assert bool(sale) == self.is_there
        assert int(sale.get(b"generation", 0)) == (self.generation or 0)
        if self.is_there and self.generation is None:
            assert sale[b"status"] == b"paused"
            assert int(sale[b"fenced"]) == self.highest_generation

    @invariant()
    def whoever_makes_the_stream_makes_its_group(self) -> None:
        """A mark or a giving up on an empty store leaves nothing that a consumer cannot read."""
        if getattr(self, "entries", 1) == 0 and self.direct.exists(INTENTS):
            groups = [each["name"] for each in self.direct.xinfo_groups(INTENTS)]
            assert groups == [GROUP.encode()]


def test_any_order_of_calls(stand: Stand) -> None:
    run_state_machine_as_test(
        type("Fences", (FenceMachine,), {"stand": stand}),
        settings=settings(
            max_examples=50,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
