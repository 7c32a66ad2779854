"""The store's log of a real store: what the scripts write is understood, what they must not write
is told."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
import redis

from flashorder.infra.embedded import DataFolder, EmbeddedStore
from flashorder.infra.redis import keys
from flashorder.inventory.reconciliation.stream import GROUP
from tests.faults.store_log import (
    EARLY_TRIM_MARK,
    LogWasRewritten,
    Step,
    StoreLog,
    read_store_log,
)
from tests.faults.system import prepare_store
from tests.faults.trimming import TRIM_UNREAD
from tests.reservations.front import SyncFront, a_purchase, a_sale, an_item

SKU = "85123A"


class Logged:
    """A sale of five units at a store of one's own, and what its log tells."""

    def __init__(self, folder: DataFolder, client: redis.Redis) -> None:
        self.client = client
        self.folder = folder.store_folder / "appendonlydir"
        self.front = SyncFront(client, a_sale(an_item(SKU, 5)))
        assert self.front.open() == 1
        self.item = f"0/{self.front.sale.sale_id}/{SKU}"

    def ids(self) -> list[bytes]:
        """Of the entries that are in the stream."""
        entries: Any = self.client.xrange(keys.intents(0))
        return [entry_id for entry_id, _ in entries]

    def log(self) -> StoreLog:
        return read_store_log(self.folder)


@pytest_asyncio.fixture
async def logged(tmp_path: Path) -> AsyncIterator[Logged]:
    with DataFolder(tmp_path / "data") as folder:
        async with EmbeddedStore(folder, maxmemory="64mb") as store:
            await prepare_store(store)
            with redis.Redis.from_url(store.url) as client:
                yield Logged(folder, client)


def test_every_step_of_a_units_life_is_there(logged: Logged) -> None:
    front = logged.front
    buyer = os.urandom(16)
    purchase = a_purchase(front.sale, buyer, quantity=2)
    order_id = str(UUID(bytes=purchase.prefix + purchase.token))
    front.reserve(purchase)
    front.release(purchase, 1)
    front.reclaim(purchase, 2)
    front.top_up(os.urandom(16), SKU, 4)
    log = logged.log()
    assert [step.units for step in log.stock[logged.item]] == [5, 3, 5, 3, 7]
    holding = f"0/{front.sale.sale_id}/{UUID(bytes=buyer)}/{SKU}"
    assert [step.units for step in log.holdings[holding]] == [2, 0, 2]
    assert [(s.held, s.hold) for s in log.holds[order_id]] == [(True, 1), (False, 1), (True, 2)]
    (entry,) = log.entries
    assert (entry.order_id, entry.sku, entry.quantity) == (order_id, SKU, 2)
    assert entry.buyer_id == str(UUID(bytes=buyer))
    assert log.unbalanced == []


def test_a_batch_is_one_transaction_in_its_order(logged: Logged) -> None:
    purchases = [a_purchase(logged.front.sale) for _ in range(3)]
    logged.front.reserve(*purchases)
    log = logged.log()
    assert [UUID(each.order_id).bytes for each in log.entries] == [
        each.prefix + each.token for each in purchases
    ]
    assert len({each.position for each in log.entries}) == 1
    assert log.stock[logged.item][-1] == Step(log.entries[0].position, 2)


def _set_stock(logged: Logged) -> None:
    logged.client.hset(logged.front.keys.stock, SKU, 5)


def _sell_without_an_entry(logged: Logged) -> None:
    logged.client.hincrby(logged.front.keys.stock, SKU, -1)


def _give_back_into_the_stock_alone(logged: Logged) -> None:
    logged.client.hincrby(logged.front.keys.stock, SKU, 1)


@pytest.mark.parametrize(
    "tamper", [_set_stock, _sell_without_an_entry, _give_back_into_the_stock_alone]
)
def test_units_that_are_made_or_lost_are_told(
    logged: Logged, tamper: Callable[[Logged], None]
) -> None:
    logged.front.reserve(a_purchase(logged.front.sale, quantity=2))
    assert logged.log().unbalanced == []
    tamper(logged)
    (wrong,) = logged.log().unbalanced
    assert wrong.position == logged.log().length
    assert SKU in wrong.what


def _by_length(logged: Logged) -> None:
    logged.client.xtrim(keys.intents(0), maxlen=1, approximate=False)


def _by_id(logged: Logged) -> None:
    second = logged.ids()[1]
    logged.client.xtrim(keys.intents(0), minid=second, approximate=False)


def _by_deletion(logged: Logged) -> None:
    logged.client.xdel(keys.intents(0), logged.ids()[0])


@pytest.mark.parametrize("remove", [_by_length, _by_id, _by_deletion])
def test_what_leaves_the_stream_is_told_however_it_leaves(
    logged: Logged, remove: Callable[[Logged], None]
) -> None:
    logged.front.reserve(a_purchase(logged.front.sale))
    logged.front.reserve(a_purchase(logged.front.sale))
    remove(logged)
    log = logged.log()
    assert [(shard, intent) for _, shard, intent in log.removed] == [(0, log.entries[0].intent)]


def test_what_the_harness_trims_is_told_apart(logged: Logged) -> None:
    def trim() -> Any:
        return logged.client.eval(TRIM_UNREAD, 2, keys.intents(0), EARLY_TRIM_MARK, GROUP, 2)

    logged.front.reserve(a_purchase(logged.front.sale))
    logged.client.xgroup_create(keys.intents(0), GROUP, id="$")
    assert trim() == []
    for _ in range(3):
        logged.front.reserve(a_purchase(logged.front.sale))
    unread = logged.ids()[1:]
    assert trim() == unread[:2]
    assert logged.ids() == unread[2:]
    log = logged.log()
    assert log.early_trims == [log.length]
    gone = [entry.intent for entry in log.entries[:3]]
    assert log.removed == [(log.length, 0, intent) for intent in gone], "the older one as well"


def test_a_store_that_was_emptied_is_told(logged: Logged) -> None:
    logged.front.reserve(a_purchase(logged.front.sale))
    logged.client.flushall()
    log = logged.log()
    assert log.flushes == [log.length]
    assert len(log.entries) == 1


def test_a_transaction_that_was_cut_off_never_was(logged: Logged) -> None:
    logged.front.reserve(a_purchase(logged.front.sale))
    length = logged.log().length
    logged.front.reserve(a_purchase(logged.front.sale))
    (file,) = logged.folder.glob("*.incr.aof")
    file.write_bytes(file.read_bytes()[:-5])
    assert logged.log().length == length


def test_a_log_that_was_rewritten_is_no_witness(logged: Logged) -> None:
    logged.client.bgrewriteaof()
    while logged.client.info("persistence")["aof_rewrite_in_progress"]:
        pass
    with pytest.raises(LogWasRewritten):
        logged.log()
