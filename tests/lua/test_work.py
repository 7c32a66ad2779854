"""What a batch of purchases makes the store do: counted, so that it cannot grow unnoticed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from flashorder.infra.redis import keys
from tests.reservations.front import SyncFront, a_purchase, a_sale, an_item

BATCH = 64
SKUS = ("85123A", "71053")
# Token and record, buyer and holding, entry and its id, with the lengths of all of them.
LOG_BYTES_A_PURCHASE_MAX = 300


@pytest.fixture
def front(redis_url: str) -> Iterator[SyncFront]:
    with redis.Redis.from_url(redis_url) as client:
        front = SyncFront(client, a_sale(*(an_item(sku, 1000) for sku in SKUS)))
        assert front.open() == 1
        buy(front)  # whatever is done once is done
        yield front


def buy(front: SyncFront) -> None:
    each = [a_purchase(front.sale, sku=SKUS[number % 2]) for number in range(BATCH)]
    assert all(code == 1 for code, _ in front.reserve(*each))


def calls(client: redis.Redis) -> dict[str, int]:
    return {
        name.removeprefix("cmdstat_"): told["calls"]
        for name, told in client.info("commandstats").items()
    }


def test_a_batch_is_so_many_commands_whatever_its_size_but_for_one_a_purchase(
    front: SyncFront,
) -> None:
    before = calls(front.client)
    buy(front)
    after = calls(front.client)
    grown = {name: after[name] - before.get(name, 0) for name in after}
    del grown["info"]
    assert {name: count for name, count in grown.items() if count} == {
        "eval": 1,
        "time": 1,
        "hmget": 3,  # sale, tokens, buyers
        "hget": 3 * len(SKUS),  # item, stock, lease
        "xadd": BATCH,
        "hset": 2,  # tokens, buyers
        "hincrby": 3 * len(SKUS),  # stock, sold, accepts
    }


def test_an_entry_is_one_field_and_the_log_holds_little_else(front: SyncFront) -> None:
    def log_bytes() -> int:
        size: int = front.client.info("persistence")["aof_current_size"]
        return size

    before = log_bytes()
    buy(front)
    assert (log_bytes() - before) / BATCH <= LOG_BYTES_A_PURCHASE_MAX
    assert {len(fields) for _, fields in front.client.xrange(keys.intents(0))} == {1}
