"""Receipts at the front: what the script takes, when, and that a token stays one purchase."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import ANY

import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from msgspec import structs

from flashorder.infra.redis import keys
from flashorder.kernel.identifiers import order_id_prefix
from flashorder.kernel.intents import INTENT_FIELD, RawIntent, unpack_intent
from flashorder.reservations.records import HonourCode, Purchase, PurchaseRecord, ReserveCode
from flashorder.sales.model import SaleStatus
from tests.reservations.front import SyncFront, a_purchase, a_sale, an_item

SKU = "85123A"
PROMISED = 199
HONOURED, KNOWN = HonourCode.HONOURED, HonourCode.KNOWN


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def front(client: redis.Redis) -> SyncFront:
    front = SyncFront(client, a_sale(an_item(SKU, 5)))
    assert front.open() == 1
    return front


def intents(client: redis.Redis) -> list[RawIntent]:
    return [unpack_intent(fields[INTENT_FIELD]) for _, fields in client.xrange(keys.intents(0))]


def test_a_lost_purchase_is_what_it_was_but_for_its_time(front: SyncFront) -> None:
    lost = structs.replace(
        a_purchase(front.sale, quantity=2), prefix=b"\0\0\0\0\0\1", address_id=os.urandom(16)
    )
    assert front.honour(lost, PROMISED) == (HONOURED, PROMISED)
    assert front.snapshot() == (1, {SKU: 3}, {SKU: 2})
    assert front.units(front.keys.accepts) == {SKU: 1}
    assert front.client.hgetall(front.keys.buyers) == {lost.buyer_id + SKU.encode(): b"2"}
    (intent,) = intents(front.client)
    assert intent == RawIntent(
        sale_id=front.sale.sale_id.bytes,
        accepted_ms=ANY,
        due_ms=intent.accepted_ms + 900_000,
        generation=1,
        unit_price_amount=PROMISED,
        quantity=2,
        order_id=lost.prefix + lost.token,
        buyer_id=lost.buyer_id,
        fingerprint=lost.fingerprint,
        address_id=lost.address_id,
        sku=SKU.encode(),
    )
    record = PurchaseRecord.unpack(front.client.hget(front.keys.tokens, lost.token))
    assert record == PurchaseRecord(
        True, 1, lost.prefix, lost.fingerprint, 2, PROMISED, intent.due_ms, SKU
    )
    front.release(lost, 1)
    assert front.snapshot() == (1, {SKU: 5}, {SKU: 0})


def test_entry_and_record_are_those_of_reserve(front: SyncFront) -> None:
    """But for times, ids and buyers: two scripts write them, and everybody reads them as one's."""
    buyer = os.urandom(16)
    one, other = (a_purchase(front.sale, buyer, key) for key in ("one", "other"))
    front.reserve(one)
    front.honour(other, 255)
    first, second = intents(front.client)
    assert second._replace(
        order_id=first.order_id, accepted_ms=first.accepted_ms, due_ms=first.due_ms
    ) == (first)
    entries = front.client.xrange(keys.intents(0))
    assert len(entries[0][1]) == len(entries[1][1]) == 1
    records = [front.client.hget(front.keys.tokens, each.token) for each in (one, other)]
    assert [record[:2] + record[8:16] for record in records] == [
        records[0][:2] + records[0][8:16]
    ] * 2


def test_presented_again_it_is_known_and_costs_nothing(front: SyncFront) -> None:
    lost = a_purchase(front.sale)
    assert front.honour(lost)[0] == HONOURED
    before = front.snapshot()
    code, record = front.honour(lost, 255)
    assert (code, PurchaseRecord.unpack(record).unit_price_amount) == (KNOWN, 255)
    assert front.snapshot() == before
    assert len(intents(front.client)) == 1


def test_the_key_after_the_receipt_is_the_same_order(front: SyncFront) -> None:
    lost = structs.replace(a_purchase(front.sale), prefix=b"\0\0\0\0\0\1")
    front.honour(lost, PROMISED)
    again = structs.replace(lost, prefix=order_id_prefix())
    ((code, record),) = front.reserve(again)
    assert code == ReserveCode.REPLAYED
    assert PurchaseRecord.unpack(record).prefix == lost.prefix


def test_the_receipt_after_the_key_is_the_order_of_the_key(front: SyncFront) -> None:
    lost = structs.replace(a_purchase(front.sale), prefix=b"\0\0\0\0\0\1")
    again = structs.replace(lost, prefix=order_id_prefix())
    front.reserve(again)
    code, record = front.honour(lost, PROMISED)
    assert (code, PurchaseRecord.unpack(record).prefix) == (KNOWN, again.prefix)
    assert front.snapshot() == (1, {SKU: 4}, {SKU: 1})


def test_a_key_that_has_bought_something_else_since_is_told(front: SyncFront) -> None:
    lost = a_purchase(front.sale, os.urandom(16), "key")
    front.reserve(a_purchase(front.sale, lost.buyer_id, "key", quantity=2))
    assert front.honour(lost) == (HonourCode.KEY_REUSED, 0)


@pytest.mark.parametrize("status", ["scheduled", "open", "paused", "closed"])
@pytest.mark.parametrize("window", [{}, {"ends_at_ms": 1}, {"starts_at_ms": 4_102_444_799_999}])
def test_neither_pause_nor_end_stands_against_it(
    front: SyncFront, status: str, window: dict[str, Any]
) -> None:
    front.client.hset(front.keys.sale, mapping={"status": status, **window})
    assert front.honour(a_purchase(front.sale))[0] == HONOURED


def test_a_settled_sale_is_over(front: SyncFront) -> None:
    front.client.hset(front.keys.sale, "status", "settled")
    assert front.honour(a_purchase(front.sale)) == (HonourCode.ENDED, front.sale.ends_at_ms)


def test_a_sealed_sale_takes_no_receipt_but_answers_those_it_knows(front: SyncFront) -> None:
    known = a_purchase(front.sale)
    front.honour(known)
    assert front.seal() == 3
    assert front.honour(a_purchase(front.sale))[0] == HONOURED
    front.client.hset(front.keys.sale, "status", "closed")
    assert [front.seal(), front.seal()] == [1, 1]
    assert front.honour(a_purchase(front.sale)) == (HonourCode.ENDED, front.sale.ends_at_ms)
    assert front.honour(known)[0] == KNOWN
    front.client.flushall()
    assert front.seal() == 2
    assert front.client.keys() == []


def test_nothing_is_honoured_while_a_generation_is_filled(front: SyncFront) -> None:
    """Its stock is whole still, and others have a right to it."""
    front.sale = replace(front.sale, generation=2, revision=4)
    assert front.open("filling") == 1
    lost = a_purchase(front.sale)
    assert front.honour(lost) == (HonourCode.FILLING, 0)
    assert [code for code, _ in front.reserve(a_purchase(front.sale))] == [ReserveCode.PAUSED]
    assert front.change(5, "paused", SKU, 2) == 1
    assert front.honour(lost)[0] == HONOURED


def test_what_is_left_decides(front: SyncFront) -> None:
    buyer = os.urandom(16)
    front.honour(a_purchase(front.sale, buyer))
    assert front.honour(a_purchase(front.sale, buyer, quantity=2)) == (HonourCode.LIMIT_REACHED, 1)
    for _ in range(3):
        front.honour(a_purchase(front.sale))
    assert front.honour(a_purchase(front.sale, quantity=2)) == (HonourCode.SOLD_OUT, 1)
    assert front.honour(a_purchase(front.sale))[0] == HONOURED
    assert front.honour(a_purchase(front.sale)) == (HonourCode.SOLD_OUT, 0)
    assert front.snapshot() == (1, {SKU: 0}, {SKU: 5})


def test_a_lease_holds_against_receipts_as_against_purchases(client: redis.Redis) -> None:
    front = SyncFront(client, a_sale(an_item(SKU, 1)))
    front.open()
    bought = a_purchase(front.sale)
    front.honour(bought)
    lent, now_ms, *_ = front.sold_out(SKU, known=1, lease_ms=1000)
    assert lent
    front.release(bought, 1)
    assert front.honour(a_purchase(front.sale)) == (HonourCode.SOLD_OUT, 0)
    client.hset(front.keys.leases, SKU, now_ms)
    assert front.honour(a_purchase(front.sale))[0] == HONOURED


def test_what_is_not_there_is_refused_and_made_of_nothing(front: SyncFront) -> None:
    lost = a_purchase(front.sale)
    assert front.honour(lost, generation=2) == (HonourCode.STALE_GENERATION, 1)
    assert front.honour(structs.replace(lost, sku="none")) == (HonourCode.SKU_NOT_IN_SALE, 0)
    front.client.hdel(front.keys.stock, SKU)
    assert front.honour(lost) == (HonourCode.STOCK_MISSING, 0)
    front.client.hdel(front.keys.sale, "generation")
    assert front.honour(lost) == (HonourCode.STALE_GENERATION, 0)
    front.client.flushall()
    assert front.honour(lost) == (HonourCode.SALE_NOT_FOUND, 0)
    assert front.client.keys() == []


def test_a_stream_that_is_none_writes_nothing(front: SyncFront) -> None:
    front.client.set(keys.intents(0), "not a stream")
    with pytest.raises(redis.ResponseError):
        front.honour(a_purchase(front.sale))
    assert front.client.exists(front.keys.tokens, front.keys.buyers) == 0
    assert front.units(front.keys.stock) == {SKU: 5}


BUYERS = [os.urandom(16) for _ in range(3)]
LIMIT, UNITS = 3, 6


@dataclass
class Told:
    """An acknowledged purchase: its buyer has a receipt of it, for good."""

    purchase: Purchase
    price: int


class ReceiptMachine(RuleBasedStateMachine):
    """A front that loses purchases and is filled anew, while keys and receipts come in any order.

    The model: which token is which purchase, in the present generation.
    """

    client: redis.Redis

    @initialize()
    def open_sale(self) -> None:
        self.client.flushall()
        self.front = SyncFront(self.client, a_sale(an_item(SKU, UNITS, LIMIT)))
        assert self.front.open() == 1
        self.status, self.filling, self.sealed = "open", False, False
        self.told: dict[bytes, Told] = {}
        self.here: dict[bytes, Purchase] = {}
        self.entries: Counter[bytes] = Counter()

    @property
    def stock(self) -> int:
        return UNITS - sum(each.quantity for each in self.here.values())

    def held(self, buyer: bytes) -> int:
        return sum(each.quantity for each in self.here.values() if each.buyer_id == buyer)

    def refused(self, purchase: Purchase) -> HonourCode | None:
        if self.held(purchase.buyer_id) + purchase.quantity > LIMIT:
            return HonourCode.LIMIT_REACHED
        return HonourCode.SOLD_OUT if self.stock < purchase.quantity else None

    def take(self, purchase: Purchase, price: int) -> None:
        self.here[purchase.token] = purchase
        self.entries[purchase.token] += 1
        # Whoever was told first keeps that receipt, though the key made another order of it later.
        self.told.setdefault(purchase.token, Told(purchase, price))

    @rule(
        wishes=st.lists(
            st.tuples(
                st.sampled_from(BUYERS), st.integers(0, 3), st.integers(1, 2), st.integers(1, 9)
            ),
            min_size=1,
            max_size=5,
        )
    )
    def buy(self, wishes: list[tuple[bytes, int, int, int]]) -> None:
        for wish in wishes:
            self.buy_one(*wish)

    def buy_one(self, buyer: bytes, key: int, quantity: int, made_ms: int) -> None:
        """By a key, which may have been told of an order before."""
        wish = structs.replace(
            a_purchase(self.front.sale, buyer, f"key-{key}", SKU, quantity),
            prefix=made_ms.to_bytes(6),
        )
        ((code, detail),) = self.front.reserve(wish)
        there = self.here.get(wish.token)
        if there is not None:
            same = there.fingerprint == wish.fingerprint
            assert code == (ReserveCode.REPLAYED if same else ReserveCode.KEY_REUSED)
            if same:
                assert PurchaseRecord.unpack(detail).prefix == there.prefix
        elif self.status != "open":
            assert code == {"paused": ReserveCode.PAUSED, "closed": ReserveCode.ENDED}[self.status]
        elif (refused := self.refused(wish)) is not None:
            assert ReserveCode(code).name == refused.name
        else:
            assert (code, detail) == (ReserveCode.ACCEPTED, 255)
            self.take(wish, 255)

    @precondition(lambda self: self.told)
    @rule(picks=st.lists(st.integers(0, 99), min_size=1, max_size=8))
    def present(self, picks: list[int]) -> None:
        for pick in picks:
            self.present_one(pick)

    def present_one(self, pick: int) -> None:
        told = list(self.told.values())[pick % len(self.told)]
        receipt = structs.replace(told.purchase, generation=self.front.sale.generation)
        code, detail = self.front.honour(receipt, told.price)
        there = self.here.get(receipt.token)
        if there is not None:
            same = there.fingerprint == receipt.fingerprint
            assert code == (KNOWN if same else HonourCode.KEY_REUSED)
            if same:
                assert PurchaseRecord.unpack(detail).prefix == there.prefix
        elif self.filling:
            assert code == HonourCode.FILLING
        elif self.sealed:
            assert code == HonourCode.ENDED
        elif (refused := self.refused(receipt)) is not None:
            assert code == refused
        else:
            assert (code, detail) == (HONOURED, told.price)
            self.take(receipt, told.price)

    @rule(
        lost=st.one_of(st.just(set(range(20))), st.sets(st.integers(0, 5))),
        status=st.sampled_from([None, SaleStatus.OPEN, SaleStatus.OPEN, SaleStatus.CLOSED]),
    )
    def lose_and_open_anew(self, lost: set[int], status: SaleStatus | None) -> None:
        """Of what was here, some had not reached PostgreSQL; without ``status`` the filling takes
        its time."""
        self.to_restore = [each for n, each in enumerate(self.here.values()) if n not in lost]
        sale = self.front.sale
        self.front.sale = replace(sale, generation=sale.generation + 1, revision=1)
        assert self.front.open("filling") == 1
        self.filling, self.sealed, self.status = True, False, "paused"
        self.here, self.entries = {}, Counter()
        if status is not None:
            self.fill(len(self.to_restore), status)

    @precondition(lambda self: self.filling)
    @rule(count=st.integers(0, 3))
    def fill_some(self, count: int) -> None:
        self.fill(count, None)

    @precondition(lambda self: self.filling)
    @rule(status=st.sampled_from([SaleStatus.OPEN, SaleStatus.PAUSED, SaleStatus.CLOSED]))
    def fill_the_rest(self, status: SaleStatus) -> None:
        self.fill(len(self.to_restore), status)

    def fill(self, count: int, status: SaleStatus | None) -> None:
        restored, self.to_restore = self.to_restore[:count], self.to_restore[count:]
        k = self.front.keys
        purchases: list[Any] = []
        for each in restored:
            record = PurchaseRecord(
                True, 1, each.prefix, each.fingerprint, each.quantity, 255, 900, SKU
            )
            purchases += (each.token, record.pack(), each.buyer_id, SKU, each.quantity)
        said = self.front.run(
            "restore",
            (k.sale, k.stock, k.sold, k.buyers, k.tokens, k.accepts),
            self.front.sale.generation,
            *purchases,
        )
        assert said == [1, len(restored), 0]
        self.here |= {each.token: each for each in restored}
        if status is not None:
            assert self.front.change(2, status, SKU, LIMIT) == 1
            self.filling, self.status = False, str(status)

    @precondition(lambda self: not self.filling)
    @rule()
    def seal(self) -> None:
        closed = self.status == "closed"
        assert self.front.seal() == (1 if closed else 3)
        self.sealed = self.sealed or closed

    @invariant()
    def units_add_up(self) -> None:
        if not hasattr(self, "front"):
            return
        generation, stock, sold = self.front.snapshot()
        assert generation == self.front.sale.generation
        assert (stock[SKU], sold[SKU]) == (self.stock, UNITS - self.stock)
        held: defaultdict[bytes, int] = defaultdict(int)
        for each in self.here.values():
            held[each.buyer_id + SKU.encode()] += each.quantity
        assert self.client.hgetall(self.front.keys.buyers) == {
            field: b"%d" % units for field, units in held.items()
        }

    @invariant()
    def a_token_is_one_purchase_and_one_entry(self) -> None:
        if not hasattr(self, "front"):
            return
        tokens = self.client.hgetall(self.front.keys.tokens)
        assert {
            token: PurchaseRecord.unpack(record).prefix for token, record in tokens.items()
        } == {token: each.prefix for token, each in self.here.items()}
        generation = self.front.sale.generation
        entries = Counter(
            intent.order_id[-10:]
            for intent in intents(self.client)
            if intent.generation == generation
        )
        assert entries == self.entries
        assert max(entries.values(), default=1) == 1
        assert self.front.units(self.front.keys.accepts).get(SKU, 0) == len(self.here)


def test_any_order_of_losses_keys_and_receipts(client: redis.Redis) -> None:
    machine = type("Machine", (ReceiptMachine,), {"client": client})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=80,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
