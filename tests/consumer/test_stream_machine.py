"""The stream and its group against a model: whoever dies, nothing is lost and nothing trimmed."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

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

from flashorder.consumer.entry import Entry
from flashorder.consumer.stream import GROUP, IntentStream
from flashorder.infra.redis.connection import connect_redis
from flashorder.infra.redis.keys import intents

T = TypeVar("T")
KEY, OTHER_GROUP, ENTRIES_MAX = intents(0), "another", 3
NAMES = st.sampled_from("abc")


class StreamMachine(RuleBasedStateMachine):
    """Three consumers that read, acknowledge, die and claim, and another group beside them.

    ``delivered`` says how many entries the group has had, ``pending`` who holds which of them, and
    ``to_ack`` what a consumer would acknowledge with its next call if it lived to make one.
    """

    url = ""

    @initialize()
    def begin(self) -> None:
        self.runner = asyncio.Runner()
        self.client: Redis = self.run(self._connected())
        self.run(self.client.flushall())
        self.streams = {name: self.of(name) for name in "abc"}
        self.run(self.streams["a"].create_group())
        self.run(self.client.xgroup_create(KEY, OTHER_GROUP, id="0"))
        self.added: list[bytes] = []
        self.kept: list[bytes] = []
        self.delivered = self.delivered_to_other = 0
        self.pending: dict[bytes, str] = {}
        self.to_ack: dict[str, list[bytes]] = {name: [] for name in "abc"}

    async def _connected(self) -> Redis:
        return connect_redis(self.url)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def teardown(self) -> None:
        if hasattr(self, "client"):
            self.run(self.client.aclose())
            self.runner.close()

    def of(self, name: str) -> IntentStream:
        return IntentStream(self.client, 0, name, entries_max=ENTRIES_MAX)

    def acknowledged(self, name: str) -> None:
        for entry_id in self.to_ack[name]:
            self.pending.pop(entry_id, None)
        self.to_ack[name] = []

    @rule(count=st.integers(1, 5))
    def buy(self, count: int) -> None:
        async def add() -> list[bytes]:
            async with self.client.pipeline() as together:  # of one millisecond, as of a batch
                for _ in range(count):
                    together.xadd(KEY, {"intent": b"x"})
                return await together.execute()

        fresh = self.run(add())
        self.added += fresh
        self.kept += fresh

    @rule(name=NAMES)
    def read_new(self, name: str) -> None:
        read = ids(self.run(self.streams[name].read_new()))
        self.acknowledged(name)
        assert read == self.added[self.delivered :][:ENTRIES_MAX]
        self.delivered += len(read)
        self.pending |= dict.fromkeys(read, name)

    @rule(name=NAMES)
    def read_own(self, name: str) -> None:
        read = ids(self.run(self.streams[name].read_own()))
        self.acknowledged(name)
        assert read == self.held_by(name)[:ENTRIES_MAX]

    def held_by(self, name: str) -> list[bytes]:
        return [each for each in self.added if self.pending.get(each) == name]

    @rule(name=NAMES, chosen=st.sets(st.integers(0, 5), min_size=1))
    def commit(self, name: str, chosen: set[int]) -> None:
        """Some of what it holds is in PostgreSQL; it says so with its next call."""
        held = self.held_by(name)
        done = [held[at] for at in sorted(chosen) if at < len(held)]
        self.streams[name].ack_with_next(Entry(entry_id, ()) for entry_id in done)
        self.to_ack[name] += [each for each in done if each not in self.to_ack[name]]

    @rule(name=NAMES)
    def flush(self, name: str) -> None:
        self.run(self.streams[name].flush_acks())
        self.acknowledged(name)

    @rule(name=NAMES)
    def die(self, name: str) -> None:
        """What it would have said is not said, and its next life begins with what it holds."""
        self.streams[name] = self.of(name)
        self.to_ack[name] = []

    @rule(name=NAMES)
    def claim(self, name: str) -> None:
        claimed = ids(self.run(self.streams[name].claim(0.0)))
        self.acknowledged(name)
        assert len(claimed) <= ENTRIES_MAX
        assert set(claimed) <= set(self.pending)
        self.pending |= dict.fromkeys(claimed, name)

    @rule(name=NAMES)
    def claim_everything(self, name: str) -> None:
        """Round after round until the cursor is through: then all of it was in its hands."""
        stream, claimed = self.of(name), set()
        while not claimed or stream.claim_goes_on:
            claimed |= set(ids(self.run(stream.claim(0.0)))) or {b""}
        self.to_ack[name] = []
        self.streams[name] = stream
        assert claimed - {b""} == set(self.pending)
        self.pending = dict.fromkeys(self.pending, name)

    @rule(entries=st.integers(1, 4), acknowledges=st.booleans())
    def the_other_group_reads(self, entries: int, acknowledges: bool) -> None:
        async def read() -> None:
            answer = await self.client.xreadgroup(OTHER_GROUP, "x", {KEY: ">"}, count=entries)
            for (batch,) in (answer or {}).values():
                await self.client.xack(KEY, OTHER_GROUP, *(entry_id for entry_id, _ in batch))

        self.run(read())
        self.delivered_to_other = min(len(self.added), self.delivered_to_other + entries)

    @rule(name=NAMES)
    def trim(self, name: str) -> None:
        dropped = self.run(self.streams[name].trim())
        done = min(self.delivered, self.delivered_to_other)
        if self.pending:
            done = min(done, self.added.index(min(self.pending, key=self.added.index)))
        needed = [each for each in self.kept if self.added.index(each) >= done]
        assert dropped == len(self.kept) - len(needed)
        self.kept = needed

    @rule(name=NAMES)
    def leave(self, name: str) -> None:
        self.run(self.streams[name].leave())

    @rule(name=NAMES, silent_seconds=st.sampled_from([0.0, 3600.0]))
    def forget_dead(self, name: str, silent_seconds: float) -> None:
        before = set(self.run(self.known()))
        forgotten = self.run(self.streams[name].forget_dead(silent_seconds))
        left = before if silent_seconds else {each for each in before if self.held_by(each)}
        assert set(self.run(self.known())) == left
        assert forgotten == len(before - left)

    async def known(self) -> dict[str, int]:
        told = await self.client.xinfo_consumers(KEY, GROUP)
        return {each["name"].decode(): each["pending"] for each in told}

    @invariant()
    def nothing_is_lost(self) -> None:
        if not hasattr(self, "client"):
            return
        there, holders, lag = self.run(self._look())
        assert there == self.kept
        assert set(self.pending) | set(self.added[self.delivered :]) <= set(there)
        assert set(self.added[self.delivered_to_other :]) <= set(there)
        holders = {name: count for name, count in holders.items() if count}
        held = {name: len(self.held_by(name)) for name in "abc"}
        assert holders == {name: count for name, count in held.items() if count}
        assert lag == len(self.pending) + len(self.added) - self.delivered

    async def _look(self) -> tuple[list[bytes], dict[str, int], int]:
        there = [entry_id for entry_id, _ in await self.client.xrange(KEY)]
        return there, await self.known(), await self.streams["a"].lag()


def ids(entries: list[Entry]) -> list[bytes]:
    return [entry.entry_id for entry in entries]


def test_any_order_of_calls(redis_url: str) -> None:
    StreamMachine.url = redis_url
    run_state_machine_as_test(
        StreamMachine,
        settings=settings(
            max_examples=50,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
