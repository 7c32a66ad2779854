"""The front through its generations, losses and rebuilds, against a model of a few lines."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Coroutine
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

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
from msgspec import structs

from flashorder.infra.redis.connection import connect_redis
from flashorder.reservations.records import Purchase, PurchaseRecord, ReserveCode
from flashorder.sales.front import (
    ChangeOutcome,
    FrontSale,
    OpenOutcome,
    RestoredPurchase,
    RestoreOutcome,
    SaleFront,
    TopUpOutcome,
)
from flashorder.sales.model import SaleStatus
from tests.reservations.front import SyncFront, a_purchase, a_sale, an_item

T = TypeVar("T")
SKU, LIMIT = "85123A", 3
BUYERS = [bytes([number]) * 16 for number in range(1, 4)]
AT_FRONT = [SaleStatus.OPEN, SaleStatus.SCHEDULED, SaleStatus.PAUSED, SaleStatus.CLOSED]
STATUSES = st.sampled_from([SaleStatus.OPEN, SaleStatus.OPEN, *AT_FRONT])
OFF = st.sampled_from([0, 0, 0, 1, -1])
"""How far a call's generation is from the one that is there: mostly it is that one."""
STEPS = st.lists(
    st.tuples(st.booleans(), st.integers(0, 1), st.sampled_from([0, 0, 0, 1, -1])),
    min_size=2,
    max_size=8,
)
"""(gives back, or takes again; which order; how far the hold is from the one it should be)."""
TOP_UP_IDS = [uuid.UUID(int=number) for number in range(1, 5)]


@dataclass
class Bought:
    """A purchase that was accepted once, and what PostgreSQL would know of it."""

    purchase: Purchase
    hold: int = 1
    held: bool = True

    def restored(self) -> RestoredPurchase:
        wish = self.purchase
        record = PurchaseRecord(
            self.held, self.hold, wish.prefix, wish.fingerprint, wish.quantity, 255, 1, wish.sku
        )
        return RestoredPurchase(wish.token, record.pack(), wish.buyer_id, wish.sku, wish.quantity)


@dataclass
class Front:
    """What a generation at the front should hold."""

    sale: FrontSale
    stock: int
    supply: int
    here: dict[bytes, Bought] = field(default_factory=dict)
    top_ups: set[uuid.UUID] = field(default_factory=set)

    @property
    def limit(self) -> int:
        return self.sale.items[0].per_buyer_limit

    def held_by(self, buyer_id: bytes) -> int:
        mine = (each for each in self.here.values() if each.purchase.buyer_id == buyer_id)
        return sum(each.purchase.quantity for each in mine if each.held)

    def take(self, wish: Purchase) -> ReserveCode:
        """The units, or why not; the order in which the scripts ask."""
        if self.held_by(wish.buyer_id) + wish.quantity > self.limit:
            return ReserveCode.LIMIT_REACHED
        if self.stock < wish.quantity:
            return ReserveCode.SOLD_OUT
        self.stock -= wish.quantity
        return ReserveCode.ACCEPTED


class FrontOfGenerations(RuleBasedStateMachine):
    """One sale, opened, changed, lost and filled anew, in any order of calls."""

    url = ""

    @initialize()
    def begin(self) -> None:
        self.runner = asyncio.Runner()
        self.direct = redis.Redis.from_url(self.url)
        self.direct.flushall()
        self.client = self.run(self._connected())
        self.front = SaleFront(self.client, 1)
        self.sale = a_sale(an_item(SKU, 0, LIMIT))
        self.scripts = SyncFront(self.direct, self.sale)
        self.there: Front | None = None
        self.known: dict[bytes, Bought] = {}
        self.open(0, SaleStatus.OPEN, 6)

    async def _connected(self) -> Any:
        return connect_redis(self.url)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def teardown(self) -> None:
        if hasattr(self, "front"):
            self.run(self.client.aclose())
            self.runner.close()
            self.direct.close()

    def generation(self, off: int) -> int:
        here = 1 if self.there is None else self.there.sale.generation
        return max(1, here + off)

    def described(self, generation: int, revision: int, status: SaleStatus, **item: int) -> Any:
        items = (replace(self.sale.items[0], **item),)
        return replace(
            self.sale, generation=generation, revision=revision, status=status, items=items
        )

    @rule(off=OFF, status=STATUSES, units=st.integers(0, 6))
    def open(self, off: int, status: SaleStatus, units: int) -> None:
        generation = self.generation(off)
        sale = self.described(generation, 1, status, quantity=units)
        outcome = self.run(self.front.open(sale))
        here = 0 if self.there is None else self.there.sale.generation
        if here == generation:
            assert outcome is OpenOutcome.ALREADY_OPEN
        elif here > generation:
            assert outcome is OpenOutcome.STALE_GENERATION
        else:
            assert outcome is OpenOutcome.OPENED
            self.there = Front(sale, units, units)

    @rule(
        off=OFF,
        ahead=st.integers(-1, 2),
        status=STATUSES,
        limit=st.integers(1, 4),
    )
    def change(self, off: int, ahead: int, status: SaleStatus, limit: int) -> None:
        generation = self.generation(off)
        revision = max(1, ahead + (1 if self.there is None else self.there.sale.revision))
        sale = self.described(generation, revision, status, per_buyer_limit=limit)
        outcome = self.run(self.front.change(sale))
        if self.there is None:
            assert outcome is ChangeOutcome.SALE_MISSING
        elif self.there.sale.generation != generation:
            assert outcome is ChangeOutcome.STALE_GENERATION
        elif self.there.sale.revision >= revision:
            assert outcome is ChangeOutcome.NOT_NEWER
        else:
            assert outcome is ChangeOutcome.CHANGED
            self.there.sale = sale

    @rule(off=OFF, top_up_id=st.sampled_from(TOP_UP_IDS), quantity=st.integers(-6, 4))
    def top_up(self, off: int, top_up_id: uuid.UUID, quantity: int) -> None:
        sale_id, generation = self.sale.sale_id, self.generation(off)
        outcome = self.run(self.front.top_up(sale_id, generation, top_up_id, SKU, quantity))
        there = self.there
        if there is None:
            assert outcome is TopUpOutcome.SALE_MISSING
        elif there.sale.generation != generation:
            assert outcome is TopUpOutcome.STALE_GENERATION
        elif top_up_id in there.top_ups:
            assert outcome is TopUpOutcome.ALREADY_APPLIED
        elif there.stock + quantity < 0:
            assert outcome is TopUpOutcome.BELOW_ZERO
        else:
            assert outcome is TopUpOutcome.APPLIED
            there.top_ups.add(top_up_id)
            there.stock += quantity
            there.supply += quantity

    @rule(
        off=OFF,
        wishes=st.lists(
            st.tuples(st.sampled_from(BUYERS), st.integers(1, 2), st.integers(0, 9)),
            min_size=1,
            max_size=4,
        ),
    )
    def buy(self, off: int, wishes: list[tuple[bytes, int, int]]) -> None:
        generation = self.generation(off)
        batch = [
            a_purchase(self.sale, buyer, f"key-{key}", SKU, quantity, generation)
            for buyer, quantity, key in wishes
        ]
        codes = [ReserveCode(code) for code, _ in self.scripts.reserve(*batch)]
        assert codes == [self.predicted(wish) for wish in batch]

    def predicted(self, wish: Purchase) -> ReserveCode:
        if self.there is None:
            return ReserveCode.SALE_NOT_FOUND
        first = self.there.here.get(wish.token)
        if first is not None:
            same = first.purchase.fingerprint == wish.fingerprint
            return ReserveCode.REPLAYED if same else ReserveCode.KEY_REUSED
        if self.there.sale.generation != wish.generation:
            return ReserveCode.STALE_GENERATION
        if self.there.sale.status is SaleStatus.CLOSED:
            return ReserveCode.ENDED
        if self.there.sale.status is SaleStatus.PAUSED:
            return ReserveCode.PAUSED
        code = self.there.take(wish)
        if code is ReserveCode.ACCEPTED:
            bought = Bought(wish)
            self.there.here[wish.token] = bought
            self.known[wish.token] = bought
        return code

    def pick(self, at: int) -> Bought | None:
        return list(self.known.values())[at % len(self.known)] if self.known else None

    @rule(steps=STEPS)
    def release_or_reclaim(self, steps: list[tuple[bool, int, int]]) -> None:
        for gives_back, at, off in steps:
            picked = self.pick(at)
            if picked is None:
                return
            hold = picked.hold + off
            if gives_back and hold >= 1:
                self.release(picked, hold)
            elif not gives_back:
                self.reclaim(picked, hold + 1)

    def release(self, picked: Bought, hold: int) -> None:
        code = self.scripts.release(picked.purchase, hold)
        here = None if self.there is None else self.there.here.get(picked.purchase.token)
        if self.there is None:
            assert code == 5
        elif here is None or here.purchase.prefix != picked.purchase.prefix or here.hold < hold:
            assert code == 4
        elif here.hold > hold:
            assert code == 3
        elif not here.held:
            assert code == 2
        else:
            assert code == 1
            here.held = False
            self.there.stock += here.purchase.quantity

    def reclaim(self, picked: Bought, hold: int) -> None:
        if not 2 <= hold <= 255:
            return
        code = self.scripts.reclaim(picked.purchase, hold)
        here = None if self.there is None else self.there.here.get(picked.purchase.token)
        if self.there is None:
            assert code == 5
        elif here is None or here.purchase.prefix != picked.purchase.prefix:
            assert code == 4
        elif here.held:
            assert code == {here.hold: 2, here.hold + 1: 3}.get(hold, 4)
        elif hold != here.hold + 1:
            assert code == 4
        else:
            taken = self.there.take(here.purchase)
            assert code == taken.value
            if taken is ReserveCode.ACCEPTED:
                here.held, here.hold = True, hold

    @rule(
        lost=st.booleans(),
        status=st.sampled_from(AT_FRONT),
        units=st.integers(0, 9),
        chosen=st.lists(st.integers(0, 20), min_size=1, max_size=9),
    )
    def rebuild(self, lost: bool, status: SaleStatus, units: int, chosen: list[int]) -> None:
        """A generation that is opened, filled with what is known if it stands, and sells again."""
        if lost:
            self.forget(settled=False)
        self.open(1, status, units)
        for top_up_id in TOP_UP_IDS[:2]:
            self.top_up(0, top_up_id, 1)
        self.restore(0, chosen)
        self.change(0, 1, SaleStatus.OPEN, LIMIT)

    @rule(off=OFF, chosen=st.lists(st.integers(0, 20), max_size=6))
    def restore(self, off: int, chosen: list[int]) -> None:
        """A rebuild puts back what PostgreSQL knows: in chunks, and some of them twice."""
        generation = self.generation(off)
        orders = [self.pick(at) for at in chosen]
        chunk = [replace(each) for each in orders if each is not None]
        restored = [each.restored() for each in chunk]
        said = self.run(self.front.restore(self.sale.sale_id, generation, 0, restored))
        if self.there is None:
            assert said == (RestoreOutcome.SALE_MISSING, 0, 0)
        elif self.there.sale.generation != generation:
            assert said == (RestoreOutcome.STALE_GENERATION, 0, 0)
        elif self.there.sale.status in (SaleStatus.OPEN, SaleStatus.SCHEDULED):
            assert said == (RestoreOutcome.SALE_IS_OPEN, 0, 0)
        else:
            assert said == (RestoreOutcome.RESTORED, *self._restored(self.there, chunk))

    def _restored(self, there: Front, chunk: list[Bought]) -> tuple[int, int]:
        restored = refused = 0
        for each in chunk:
            if each.purchase.token in there.here:
                continue
            if each.held and there.stock < each.purchase.quantity:
                refused += 1
                continue
            restored += 1
            there.here[each.purchase.token] = self.known[each.purchase.token] = each
            if each.held:
                there.stock -= each.purchase.quantity
        return restored, refused

    @rule(settled=st.sampled_from([True, False]))
    def forget(self, settled: bool) -> None:
        """A settled sale leaves the front; a store that dies takes everything along."""
        if settled:
            self.run(self.front.remove(self.sale.sale_id))
        else:
            self.direct.flushall()
        self.there = None

    @rule(at=st.integers(0, 20))
    def release_of_another_order_with_this_token(self, at: int) -> None:
        picked = self.pick(at)
        if picked is not None:
            stranger = structs.replace(picked.purchase, prefix=b"\0" * 6)
            assert self.scripts.release(stranger, 1) == (5 if self.there is None else 4)

    @invariant()
    def the_front_is_the_model(self) -> None:
        if not hasattr(self, "front"):
            return
        there = self.there
        found = self.run(self.front.read(self.sale.sale_id))
        if there is None:
            assert found is None
            assert self.run(self.front.snapshot(self.sale.sale_id)) == []
            return
        assert found is not None
        (item,) = found.items
        assert (found.generation, found.revision, found.status) == (
            there.sale.generation, there.sale.revision, there.sale.status,
        )  # fmt: skip
        held = sum(each.purchase.quantity for each in there.here.values() if each.held)
        assert (item.per_buyer_limit, item.remaining, item.sold) == (there.limit, there.stock, held)
        assert there.stock >= 0
        assert there.stock + held == there.supply
        accepts = self.scripts.units(self.scripts.keys.accepts).get(SKU, 0)
        assert accepts == self.direct.hlen(self.scripts.keys.tokens) == len(there.here)
        (shard,) = self.run(self.front.snapshot(self.sale.sale_id))
        assert (shard.generation, shard.stock, shard.sold) == (
            there.sale.generation, {SKU: there.stock}, {SKU: held},
        )  # fmt: skip


def test_any_order_of_calls(redis_url: str) -> None:
    FrontOfGenerations.url = redis_url
    run_state_machine_as_test(
        FrontOfGenerations,
        settings=settings(
            max_examples=100,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
