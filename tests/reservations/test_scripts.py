"""The scripts against a small model: whatever the order of calls, stock adds up."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from unittest.mock import ANY

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
from msgspec import structs

from flashorder.infra.redis import keys
from flashorder.kernel.intents import INTENT_FIELD, unpack_intent
from flashorder.reservations.records import Purchase, PurchaseRecord, ReserveCode
from flashorder.sales.model import SaleStatus
from tests.reservations.front import FAR_FUTURE_MS, SyncFront, a_purchase, a_sale, an_item

BUYERS = [os.urandom(16) for _ in range(4)]
SKUS = ["85123A", "71053"]


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def front(client: redis.Redis) -> SyncFront:
    front = SyncFront(client, a_sale(an_item("85123A", 5), an_item("71053", 3, 3)))
    assert front.open() == 1
    return front


def codes(replies: list[tuple[int, object]]) -> list[ReserveCode]:
    return [ReserveCode(code) for code, _ in replies]


def test_a_purchase_takes_units_and_leaves_an_entry(front: SyncFront) -> None:
    purchase = a_purchase(front.sale, quantity=2)
    assert front.reserve(purchase) == [(ReserveCode.ACCEPTED, 255)]
    assert front.units(front.keys.stock) == {"85123A": 3, "71053": 3}
    assert front.units(front.keys.sold) == {"85123A": 2, "71053": 0}
    ((_, entry),) = front.client.xrange(keys.intents(0))
    assert list(entry) == [INTENT_FIELD]
    intent = unpack_intent(entry[INTENT_FIELD])
    assert intent.order_id == purchase.prefix + purchase.token
    assert intent.buyer_id == purchase.buyer_id
    assert intent.sale_id == front.sale.sale_id.bytes
    assert (intent.sku, intent.quantity, intent.unit_price_amount) == (b"85123A", 2, 255)
    assert (intent.fingerprint, intent.generation) == (purchase.fingerprint, 1)
    seconds, microseconds = front.client.time()
    assert 0 <= seconds * 1000 + microseconds // 1000 - intent.accepted_ms <= 60_000
    assert intent.due_ms - intent.accepted_ms == 900_000


def test_the_same_key_gives_the_first_answer_even_within_a_batch(front: SyncFront) -> None:
    first = a_purchase(front.sale, BUYERS[0], key="k")
    again = structs.replace(first, prefix=b"\x01\x90\x00\x00\x00\x01")
    other_body = a_purchase(front.sale, BUYERS[0], key="k", quantity=2)
    replies = front.reserve(first, again, other_body)
    assert codes(replies) == [ReserveCode.ACCEPTED, ReserveCode.REPLAYED, ReserveCode.KEY_REUSED]
    assert codes(front.reserve(again)) == [ReserveCode.REPLAYED]
    record = PurchaseRecord.unpack(replies[1][1])
    assert record.prefix == first.prefix
    assert record.belongs_to(BUYERS[0])
    assert not record.belongs_to(BUYERS[1])
    assert (record.held, record.hold, record.quantity, record.sku) == (True, 1, 1, "85123A")
    assert PurchaseRecord.unpack(record.pack()) == record
    assert front.client.xlen(keys.intents(0)) == 1


def test_an_entry_has_the_address_that_was_chosen(front: SyncFront) -> None:
    address = os.urandom(16)
    chosen = structs.replace(a_purchase(front.sale), address_id=address)
    none = a_purchase(front.sale, sku="71053", quantity=3)
    assert codes(front.reserve(chosen, none)) == [ReserveCode.ACCEPTED] * 2
    first, second = (
        unpack_intent(fields[INTENT_FIELD]) for _, fields in front.client.xrange(keys.intents(0))
    )
    assert (first.address_id, second.address_id) == (address, b"")
    assert (first.sku, first.quantity) == (b"85123A", 1)
    assert (second.sku, second.quantity) == (b"71053", 3)


def test_limit_and_stock_hold_within_a_batch(front: SyncFront) -> None:
    sale = front.sale
    one_buyer = [a_purchase(sale, BUYERS[0]) for _ in range(3)]
    assert codes(front.reserve(*one_buyer)) == [
        ReserveCode.ACCEPTED,
        ReserveCode.ACCEPTED,
        ReserveCode.LIMIT_REACHED,
    ]
    many = [a_purchase(sale, quantity=2) for _ in range(3)]
    replies = front.reserve(*many)
    assert codes(replies) == [
        ReserveCode.ACCEPTED,
        ReserveCode.SOLD_OUT,
        ReserveCode.SOLD_OUT,
    ]
    assert replies[1][1] == 1  # what is left
    assert codes(front.reserve(a_purchase(sale, sku="nope"))) == [ReserveCode.SKU_NOT_IN_SALE]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"status": SaleStatus.PAUSED}, ReserveCode.PAUSED),
        ({"status": SaleStatus.CLOSED}, ReserveCode.ENDED),
        ({"starts_at_ms": 4_000_000_000_000}, ReserveCode.NOT_STARTED),
        ({"ends_at_ms": 1}, ReserveCode.ENDED),
        ({"status": SaleStatus.SCHEDULED}, ReserveCode.ACCEPTED),
        ({"status": SaleStatus.SCHEDULED, "starts_at_ms": 4_000_000_000_000},
         ReserveCode.NOT_STARTED),
    ],
)  # fmt: skip
def test_state_and_window_are_the_stores(
    client: redis.Redis, changes: dict[str, object], expected: ReserveCode
) -> None:
    front = SyncFront(client, replace(a_sale(), **changes))
    front.open()
    assert codes(front.reserve(a_purchase(front.sale))) == [expected]
    assert client.exists(keys.intents(0)) == (expected is ReserveCode.ACCEPTED)


def test_what_is_missing_is_refused_never_defaulted(front: SyncFront) -> None:
    purchase = a_purchase(front.sale)
    assert codes(front.reserve(structs.replace(purchase, generation=2))) == [
        ReserveCode.STALE_GENERATION
    ]
    front.client.delete(front.keys.stock)
    assert codes(front.reserve(purchase)) == [ReserveCode.STOCK_MISSING]
    front.client.flushall()
    assert codes(front.reserve(purchase)) == [ReserveCode.SALE_NOT_FOUND]
    assert front.client.keys() == []


def test_sold_out_is_read_with_all_that_it_rests_on(front: SyncFront) -> None:
    sku, other = (item.sku for item in front.sale.items)
    sold, refused = a_purchase(front.sale, quantity=2), a_purchase(front.sale, quantity=9)
    assert codes(front.reserve(sold, sold, refused)) == [
        ReserveCode.ACCEPTED,
        ReserveCode.REPLAYED,
        ReserveCode.LIMIT_REACHED,
    ]
    lent, now_ms, *rest = front.sold_out(sku)
    assert not lent
    assert now_ms <= front.sold_out(other)[1] <= now_ms + 60_000
    sale = [900_000, 1, b"open", 0, front.sale.ends_at_ms]
    assert rest == [*sale, 2, 3, 1, 1]
    assert front.sold_out(other)[2:] == [*sale, 3, 3, 0, 1]
    front.release(sold, 1)
    front.reclaim(sold, 2)
    assert front.sold_out(sku)[2:] == [*sale, 2, 3, 1, 1]


def sold_out_front(client: redis.Redis, **changes: object) -> tuple[SyncFront, Purchase]:
    """A front whose one unit went to the purchase."""
    front = SyncFront(client, replace(a_sale(an_item(quantity=1)), **changes))
    assert front.open() == 1
    purchase = a_purchase(front.sale)
    assert codes(front.reserve(purchase)) == [ReserveCode.ACCEPTED]
    return front, purchase


def test_nothing_is_sold_before_the_lease_has_ended(client: redis.Redis) -> None:
    front, bought = sold_out_front(client)
    lent, now_ms, *_ = front.sold_out("85123A", known=1, lease_ms=1000)
    assert lent
    assert client.hgetall(front.keys.leases) == {b"85123A": b"%d" % (now_ms + 1000)}
    assert 0 < client.pttl(front.keys.leases) <= 1000
    front.release(bought, 1)
    wish = a_purchase(front.sale)
    assert front.reserve(wish, bought) == [
        (ReserveCode.SOLD_OUT, 0),
        (ReserveCode.REPLAYED, ANY),
    ]
    assert not front.sold_out("85123A", known=1)[0]  # and no lease is added to it
    client.hset(front.keys.leases, "85123A", now_ms)
    assert codes(front.reserve(wish)) == [ReserveCode.ACCEPTED]


def test_a_lease_of_another_clock_is_void(client: redis.Redis) -> None:
    front, bought = sold_out_front(client)
    front.release(bought, 1)
    client.hset(front.keys.leases, "85123A", front.sold_out("85123A")[1] + 60_000)
    assert codes(front.reserve(a_purchase(front.sale))) == [ReserveCode.ACCEPTED]


def test_nothing_is_lent_to_who_does_not_know_every_token(client: redis.Redis) -> None:
    front, _ = sold_out_front(client)
    for known in (-1, 0, 2):
        assert not front.sold_out("85123A", known=known)[0]
    assert not client.exists(front.keys.leases)


@pytest.mark.parametrize(
    "field", [{"status": "paused"}, {"status": "closed"}, {"ends_at_ms": 1},
              {"starts_at_ms": FAR_FUTURE_MS - 1}]
)  # fmt: skip
def test_nothing_is_lent_of_a_sale_that_does_not_sell(
    client: redis.Redis, field: dict[str, object]
) -> None:
    front, _ = sold_out_front(client)
    client.hset(front.keys.sale, mapping=field)
    assert not front.sold_out("85123A", known=1)[0]


def test_no_lease_outlives_its_sale(client: redis.Redis) -> None:
    front, _ = sold_out_front(client)
    now_ms = front.sold_out("85123A")[1]
    client.hset(front.keys.sale, "ends_at_ms", now_ms + 900)
    assert not front.sold_out("85123A", known=1, lease_ms=1000)[0]


def test_a_worker_remembers_nothing_of_what_is_missing(front: SyncFront) -> None:
    assert front.sold_out("nope") == []
    front.client.hdel(front.keys.stock, "71053")
    assert front.sold_out("71053") == []
    assert front.sold_out("85123A") != []
    front.client.delete(front.keys.sale)
    assert front.sold_out("85123A") == []


def test_replay_outlives_pause_and_end(front: SyncFront) -> None:
    purchase = a_purchase(front.sale)
    front.reserve(purchase)
    front.client.hset(front.keys.sale, "status", "closed")
    assert codes(front.reserve(purchase, a_purchase(front.sale))) == [
        ReserveCode.REPLAYED,
        ReserveCode.ENDED,
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        *({"quantity": quantity} for quantity in (0, -1, 1.5, "1e3", "01", "x", "", 10**9)),
        {"buyer_id": b"b" * 15},
        {"address_id": b"a"},
        {"address_id": b"a" * 17},
    ],
)
def test_a_malformed_batch_writes_nothing(front: SyncFront, wrong: dict[str, object]) -> None:
    good, bad = a_purchase(front.sale), structs.replace(a_purchase(front.sale), **wrong)
    with pytest.raises(redis.ResponseError, match=r"reserve: a (quantity|purchase) is n"):
        front.reserve(good, bad)
    assert front.client.exists(keys.intents(0)) == 0
    assert front.units(front.keys.stock) == {"85123A": 5, "71053": 3}


def test_a_wrong_type_anywhere_writes_nothing(front: SyncFront) -> None:
    front.client.set(keys.intents(0), "not a stream")
    with pytest.raises(redis.ResponseError):
        front.reserve(a_purchase(front.sale))
    assert front.client.exists(front.keys.tokens, front.keys.buyers) == 0
    assert front.units(front.keys.stock) == {"85123A": 5, "71053": 3}


@dataclass
class Bought:
    purchase: Purchase
    hold: int = 1
    held: bool = True


class FrontMachine(RuleBasedStateMachine):
    """Random calls on one sale, each answer predicted by a model of a few lines."""

    client: redis.Redis

    @initialize()
    def open_sale(self) -> None:
        self.client.flushall()
        items = (an_item("85123A", 4, 2), an_item("71053", 3, 3))
        self.front = SyncFront(self.client, a_sale(*items))
        assert self.front.open() == 1
        self.revision, self.paused = 1, False
        self.limits = {"85123A": 2, "71053": 3}
        self.stock = {"85123A": 4, "71053": 3}
        self.supply = dict(self.stock)
        self.holdings: dict[tuple[bytes, str], int] = defaultdict(int)
        self.bought: dict[bytes, Bought] = {}
        self.top_ups: set[bytes] = set()

    def predict(self, purchase: Purchase) -> ReserveCode:
        first = self.bought.get(purchase.token)
        if first is not None:
            same = first.purchase.fingerprint == purchase.fingerprint
            return ReserveCode.REPLAYED if same else ReserveCode.KEY_REUSED
        if self.paused:
            return ReserveCode.PAUSED
        held = self.holdings[purchase.buyer_id, purchase.sku]
        if held + purchase.quantity > self.limits[purchase.sku]:
            return ReserveCode.LIMIT_REACHED
        if self.stock[purchase.sku] < purchase.quantity:
            return ReserveCode.SOLD_OUT
        self.take(purchase)
        self.bought[purchase.token] = Bought(purchase)
        return ReserveCode.ACCEPTED

    def take(self, purchase: Purchase) -> None:
        self.stock[purchase.sku] -= purchase.quantity
        self.holdings[purchase.buyer_id, purchase.sku] += purchase.quantity

    @rule(
        wishes=st.lists(
            st.tuples(
                st.sampled_from(BUYERS),
                st.sampled_from(SKUS),
                st.integers(1, 3),
                st.integers(0, 5),
            ),
            min_size=1,
            max_size=6,
        )
    )
    def reserve(self, wishes: list[tuple[bytes, str, int, int]]) -> None:
        batch = [
            a_purchase(self.front.sale, buyer, f"key-{key}", sku, quantity)
            for buyer, sku, quantity, key in wishes
        ]
        assert codes(self.front.reserve(*batch)) == [self.predict(each) for each in batch]

    @rule(pick=st.integers(0, 50), hold=st.integers(1, 3))
    def release(self, pick: int, hold: int) -> None:
        if not self.bought:
            return
        order = list(self.bought.values())[pick % len(self.bought)]
        code = self.front.release(order.purchase, hold)
        if order.hold > hold:
            assert code == 3
        elif order.hold < hold:
            assert code == 4
        elif not order.held:
            assert code == 2
        else:
            assert code == 1
            order.held = False
            self.stock[order.purchase.sku] += order.purchase.quantity
            self.holdings[order.purchase.buyer_id, order.purchase.sku] -= order.purchase.quantity

    @rule(pick=st.integers(0, 50), hold=st.integers(2, 4))
    def reclaim(self, pick: int, hold: int) -> None:
        if not self.bought:
            return
        order = list(self.bought.values())[pick % len(self.bought)]
        purchase = order.purchase
        code = self.front.reclaim(purchase, hold)
        if order.held:
            expected = {order.hold: 2, order.hold + 1: 3}.get(hold, 4)
            assert code == expected
            return
        if hold != order.hold + 1:
            assert code == 4
            return
        held = self.holdings[purchase.buyer_id, purchase.sku]
        if held + purchase.quantity > self.limits[purchase.sku]:
            assert code == 11
        elif self.stock[purchase.sku] < purchase.quantity:
            assert code == 10
        else:
            assert code == 1
            order.held, order.hold = True, hold
            self.take(purchase)

    @rule(number=st.integers(0, 3), sku=st.sampled_from(SKUS), quantity=st.integers(-3, 3))
    def top_up(self, number: int, sku: str, quantity: int) -> None:
        top_up_id = bytes([number]) * 16
        code = self.front.top_up(top_up_id, sku, quantity)
        if top_up_id in self.top_ups:
            assert code == 2
        elif self.stock[sku] + quantity < 0:
            assert code == 3
        else:
            assert code == 1
            self.top_ups.add(top_up_id)
            self.stock[sku] += quantity
            self.supply[sku] += quantity

    @rule(revision=st.integers(1, 9), limit=st.integers(1, 4), paused=st.booleans())
    def change(self, revision: int, limit: int, paused: bool) -> None:
        code = self.front.change(revision, "paused" if paused else "open", SKUS[0], limit)
        assert code == (1 if revision > self.revision else 2)
        if revision > self.revision:
            self.revision, self.paused = revision, paused
            self.limits[SKUS[0]] = limit

    @rule()
    def open_again(self) -> None:
        assert self.front.open() == 2

    @rule()
    def release_of_an_unknown_order(self) -> None:
        assert self.front.release(a_purchase(self.front.sale), 1) == 4

    @invariant()
    def stock_adds_up(self) -> None:
        if not hasattr(self, "front"):
            return
        stock = self.front.units(self.front.keys.stock)
        sold = self.front.units(self.front.keys.sold)
        assert stock == self.stock
        assert self.front.snapshot() == (1, stock, sold)
        assert {sku: stock[sku] + sold[sku] for sku in SKUS} == self.supply
        assert min(stock.values()) >= 0
        held = sum(each.purchase.quantity for each in self.bought.values() if each.held)
        assert sum(sold.values()) == held
        assert self.client.xlen(keys.intents(0)) == len(self.bought)
        units = self.client.hgetall(self.front.keys.buyers)
        assert {field: int(value) for field, value in units.items()} == {
            buyer + sku.encode(): held for (buyer, sku), held in self.holdings.items() if held
        }

    @invariant()
    def accepts_are_the_tokens_of_each_sku(self) -> None:
        if not hasattr(self, "front"):
            return
        bought = Counter(each.purchase.sku for each in self.bought.values())
        assert self.front.units(self.front.keys.accepts) == bought
        for sku in SKUS:
            *_, limit, stock, accepts, tokens = self.front.sold_out(sku)
            assert (limit, stock) == (self.limits[sku], self.stock[sku])
            assert (accepts, tokens) == (bought[sku], len(self.bought))


def test_any_order_of_calls(client: redis.Redis) -> None:
    machine = type("Machine", (FrontMachine,), {"client": client})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=60,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
