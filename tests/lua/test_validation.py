"""Nothing is written before everything is checked: a Lua error does not roll back."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from flashorder.infra.redis import keys
from flashorder.infra.redis.connection import connect_redis
from flashorder.infra.redis.scripts import load_script

SALE = keys.sale_keys(0, uuid.UUID(int=1))
KEYS = {
    "open_sale": (keys.sales(0), *SALE.all()),
    "change_sale": (SALE.sale, SALE.items),
    "restore": (SALE.sale, SALE.stock, SALE.sold, SALE.buyers, SALE.tokens, SALE.accepts),
    "honour": keys.reserve_keys(0, uuid.UUID(int=1)),
    "release": (SALE.sale, SALE.stock, SALE.sold, SALE.buyers, SALE.tokens),
    "top_up": (SALE.sale, SALE.stock, SALE.top_ups),
    "check_life": (keys.life(0), keys.intents(0)),
    "begin_life": (keys.life(0), keys.intents(0)),
    "give_up": (keys.life(0), keys.intents(0)),
    "sold_out": (
        *(SALE.sale, SALE.items, SALE.stock, SALE.tokens, SALE.accepts),
        SALE.leases,
    ),
}
ITEM = "255|2|299|A name | with a bar"
GOOD: dict[str, list[Any]] = {
    "open_sale": [
        *("id", 2, 2, "paused", "title", "GBP", 0, 4_102_444_800_000, 900_000),
        *("A", ITEM, 5, "B", ITEM, 5),
    ],
    "change_sale": [
        *(2, 3, "paused", "title", 0, 4_102_444_800_000, 900_000),
        *("A", ITEM, "B", ITEM),
    ],
    "restore": [
        2,
        *(b"t" * 10, b"A\x01" + b"x" * 14 + b"1:255:900:A", b"b" * 16, "A", 1),
        *(b"u" * 10, b"R\x01" + b"x" * 14 + b"2:255:900:A", b"b" * 16, "A", 2),
    ],
    "honour": [2, b"s" * 16, b"w" * 40, 1, 255, "A"],
    "release": [b"t" * 10, b"x" * 6, b"b" * 16, 1],
    "top_up": [2, b"i" * 16, "A", 3],
    "check_life": ["", "0-0"],
    "begin_life": ["a server", "0-0"],
    "give_up": ["a server", "0-0", "orders"],
    "sold_out": ["A", 0, 90],
}
BAD: list[tuple[str, int, Any]] = [
    *(("open_sale", at, value) for at in (1, 2, 8) for value in (0, "", "1.5", "1e3", "inf", -1)),
    *(("open_sale", at, value) for at in (6, 7) for value in ("", "soon", -1, "1" * 16)),
    ("open_sale", 3, "settled"),
    ("open_sale", 6, 4_102_444_800_000),
    ("open_sale", 13, "255"),
    ("open_sale", 14, "0.5"),
    ("open_sale", 14, -1),
    *(("change_sale", at, value) for at in (0, 1, 6) for value in (0, "", "1.5", "nan", -1)),
    *(("change_sale", at, value) for at in (4, 5) for value in ("", "soon", -1)),
    ("change_sale", 2, "gone"),
    ("change_sale", 5, 0),
    ("change_sale", 10, "255|x|299|A"),
    *(("restore", 10, value) for value in (1, 0, -2, "2.0", "", "x")),
    *(("honour", 1, sale_id) for sale_id in ("", b"s" * 15)),
    *(("honour", 2, who) for who in ("", b"w" * 39, b"w" * 41, b"w" * 57)),
    *(("honour", 3, quantity) for quantity in (0, -1, "1.5", "1e3", "01", "x", "", 10**9)),
    *(("honour", 4, price) for price in (-1, "1.5", "x", "", 10**15)),
    *(("release", 3, hold) for hold in (0, 256, 1.5, "x")),
    *(("top_up", 3, quantity) for quantity in (0.5, "x")),
    *(("sold_out", 1, known) for known in (0.5, "x", "")),
    *(("sold_out", 2, lease_ms) for lease_ms in (0, 1001, 1.5, "x")),
    *(("check_life", 1, told) for told in ("", "0", "1-", "x-1", "1-1-1", " 1-1")),
    *(("begin_life", 1, applied) for applied in ("", "0", "-1", "1.5-0")),
    *(("give_up", 1, known) for known in ("", "0", "1-x")),
    ("restore", 6, b"u" * 9),
    ("restore", 8, b"b" * 15),
    ("restore", 9, "B"),
    *(
        ("restore", 7, record)
        for record in (
            b"",
            b"A\x01",
            b"X\x01" + b"x" * 14 + b"2:255:900:A",
            b"A\x00" + b"x" * 14 + b"2:255:900:A",
            b"A\x01" + b"x" * 14 + b"2:255:A",
        )
    ),
]


@pytest_asyncio.fixture
async def client(redis_url: str) -> AsyncIterator[Redis]:
    client = connect_redis(redis_url)
    yield client
    await client.aclose()


async def everything(client: Redis) -> dict[bytes, Any]:
    return {key: await client.dump(key) for key in await client.keys()}


async def run(client: Redis, name: str, arguments: list[Any]) -> Any:
    return await load_script(name)(client, KEYS[name], arguments)


async def test_what_is_refused_has_written_nothing(client: Redis) -> None:
    assert await run(client, "open_sale", GOOD["open_sale"]) == 1
    before = await everything(client)
    for name, at, value in BAD:
        arguments = list(GOOD[name])
        if name == "open_sale":
            arguments[1] = 3  # a generation that would replace the one that is here
        arguments[at] = value
        with pytest.raises(ResponseError, match=name):
            await run(client, name, arguments)
        assert await everything(client) == before, (name, at, value)


async def test_what_is_good_is_taken(client: Redis) -> None:
    assert await run(client, "open_sale", GOOD["open_sale"]) == 1
    assert await run(client, "restore", GOOD["restore"]) == [1, 2, 0]
    assert await run(client, "restore", GOOD["restore"]) == [1, 0, 0]
    assert await run(client, "change_sale", GOOD["change_sale"]) == 1
    assert await client.hgetall(SALE.stock) == {b"A": b"4", b"B": b"5"}
    assert await client.hgetall(SALE.accepts) == {b"A": b"2"}
    assert await run(client, "release", GOOD["release"]) == 1
    assert await run(client, "top_up", GOOD["top_up"]) == 1
    assert await client.hgetall(SALE.stock) == {b"A": b"8", b"B": b"5"}
