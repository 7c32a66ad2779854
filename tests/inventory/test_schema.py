"""The ledger keeps its own promises, whoever writes to it."""

from __future__ import annotations

import asyncpg
import pytest
import pytest_asyncio

from flashorder.infra.postgres.pool import Pool
from flashorder.kernel.identifiers import new_id


@pytest_asyncio.fixture(autouse=True)
async def two_products(pool: Pool) -> None:
    await pool.execute(
        "INSERT INTO products (sku, name, unit_price_amount, currency) "
        "VALUES ('A-1', 'Lantern', 339, 'GBP'), ('B-2', 'Bottle', 255, 'GBP')"
    )


async def move(pool: Pool, *rows: tuple[str, str, int]) -> None:
    await pool.execute(
        "INSERT INTO stock_movements (movement_id, sku, kind, quantity, cause, actor) "
        "SELECT *, 'test', 'test' FROM unnest($1::uuid[], $2::text[], $3::text[], $4::int[])",
        [new_id() for _ in rows],
        *map(list, zip(*rows, strict=True)),
    )


async def levels(pool: Pool, sku: str) -> tuple[int, int]:
    row = await pool.fetchrow("SELECT on_hand, available FROM stock_levels WHERE sku = $1", sku)
    assert row is not None
    return row["on_hand"], row["available"]


async def test_each_kind_moves_its_levels(pool: Pool) -> None:
    await move(pool, ("A-1", "received", 10), ("B-2", "received", 3), ("A-1", "allocated", -6))
    assert await levels(pool, "A-1") == (10, 4)
    assert await levels(pool, "B-2") == (3, 3)
    await move(pool, ("A-1", "reserved", -1), ("A-1", "shipped", -5), ("A-1", "released", 2))
    assert await levels(pool, "A-1") == (5, 5)
    await move(pool, ("A-1", "returned", 1), ("A-1", "adjusted", -3))
    assert await levels(pool, "A-1") == (3, 3)


async def test_what_is_not_there_cannot_be_moved(pool: Pool) -> None:
    await move(pool, ("A-1", "received", 10))
    with pytest.raises(asyncpg.CheckViolationError):
        await move(pool, ("A-1", "allocated", -11))
    with pytest.raises(asyncpg.CheckViolationError):
        await move(pool, ("B-2", "shipped", -1))
    assert await levels(pool, "A-1") == (10, 10)


@pytest.mark.parametrize(
    ("kind", "quantity"), [("received", -1), ("allocated", 1), ("shipped", 1), ("adjusted", 0)]
)
async def test_the_sign_belongs_to_the_kind(pool: Pool, kind: str, quantity: int) -> None:
    await move(pool, ("A-1", "received", 10))
    with pytest.raises(asyncpg.CheckViolationError):
        await move(pool, ("A-1", kind, quantity))


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE stock_movements SET quantity = 1",
        "DELETE FROM stock_movements",
        "TRUNCATE stock_movements",
    ],
)
async def test_a_movement_is_final(pool: Pool, statement: str) -> None:
    await move(pool, ("A-1", "received", 10))
    with pytest.raises(asyncpg.RestrictViolationError):
        await pool.execute(statement)


@pytest.mark.parametrize("sku", ["", "a b", "a@b", "a=b", "{s0}", "x" * 65, "-a", "a\n", "é"])
async def test_an_sku_is_plain(pool: Pool, sku: str) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        await pool.execute(
            "INSERT INTO products (sku, name, unit_price_amount, currency) "
            "VALUES ($1, 'x', 1, 'GBP')",
            sku,
        )
