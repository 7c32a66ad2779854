"""From a file into the database."""

from __future__ import annotations

from pathlib import Path

import pytest

from flashorder.data import CATALOGUE_FILE
from flashorder.infra.postgres.pool import Pool
from flashorder.inventory.catalogue_import import import_catalogue
from flashorder.inventory.model import Product
from flashorder.inventory.products import Products
from flashorder.kernel.errors import InvalidInput
from flashorder.kernel.money import Money


async def test_the_shipped_catalogue_is_imported_once(pool: Pool) -> None:
    heard: list[int] = []
    first = await import_catalogue(pool, CATALOGUE_FILE, progress=heard.append)
    assert first.lines_read == 4792
    assert heard[-1] == 4792
    assert first.errors_total == 0
    assert first.products == first.created > 3_000
    assert first.no_product_lines > 0
    lantern = await pool.fetchrow("SELECT * FROM products WHERE sku = '71053'")
    assert lantern is not None
    assert lantern["name"] == "WHITE METAL LANTERN"
    assert lantern["currency"] == "GBP"
    assert (
        await pool.fetchval("SELECT sum(quantity) FROM stock_movements") == first.units_received > 0
    )
    again = await import_catalogue(pool, CATALOGUE_FILE)
    assert (again.created, again.updated, again.units_received) == (0, 0, 0)
    assert again.unchanged == first.products


async def test_a_changed_file_changes_what_it_says_and_nothing_else(
    pool: Pool, tmp_path: Path
) -> None:
    file = tmp_path / "products.csv"
    file.write_text("sku,name,unit_price,currency\nA,Mug,4.99,GBP\nB,Fan,5.00,GBP\nbad\n")
    report = await import_catalogue(pool, file)
    assert (report.created, report.errors_total, report.errors[0].line) == (2, 1, 4)
    await pool.execute("UPDATE products SET active = false, weight_grams = 9 WHERE sku = 'A'")
    file.write_text("sku,name,unit_price,currency\nA,Big mug,5.99,GBP\nB,Fan,5.00,GBP\n")
    report = await import_catalogue(pool, file)
    assert (report.created, report.updated, report.unchanged) == (0, 1, 1)
    row = await pool.fetchrow("SELECT * FROM products WHERE sku = 'A'")
    assert row is not None
    assert (row["name"], row["unit_price_amount"], row["version"]) == ("Big mug", 599, 2)
    assert (row["active"], row["weight_grams"]) == (False, 9)


async def test_what_an_operator_wrote_is_kept(pool: Pool, tmp_path: Path) -> None:
    file = tmp_path / "products.csv"
    file.write_text("sku,name,unit_price,currency\nA,Mug,4.99,GBP\nB,Fan,5.00,GBP\nC,Cup,1,GBP\n")
    await import_catalogue(pool, file)
    products = Products(pool)
    await products.change("A", None, {"unit_price": Money(399, "GBP")})
    await products.change("B", None, {"active": False})
    await products.create(Product("D", "Own words", Money(1, "GBP")))
    again = await import_catalogue(pool, file)
    assert (again.updated, again.kept, again.unchanged) == (0, 1, 2)
    file.write_text(
        "sku,name,unit_price,currency\n"
        "A,Big mug,5.99,GBP\nB,Big fan,6,GBP\nC,Cup,1,GBP\nD,D,2,GBP\n"
    )
    report = await import_catalogue(pool, file)
    assert (report.created, report.updated, report.unchanged, report.kept) == (0, 1, 1, 2)
    for sku, name, amount in (("A", "Mug", 399), ("B", "Big fan", 600), ("D", "Own words", 1)):
        product = await products.get(sku)
        assert (product.name, product.unit_price.amount) == (name, amount)


async def test_an_import_does_not_guess_stock_for_what_is_known(pool: Pool) -> None:
    await pool.execute(
        "INSERT INTO products (sku, name, unit_price_amount, currency) "
        "VALUES ('71053', 'Lantern', 339, 'GBP')"
    )
    await import_catalogue(pool, CATALOGUE_FILE)
    known = "SELECT count(*) FROM stock_movements WHERE sku = '71053'"
    assert await pool.fetchval(known) == 0


async def test_a_file_that_is_not_there_is_a_plain_refusal(pool: Pool, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput):
        await import_catalogue(pool, tmp_path / "nowhere.csv")


async def test_stray_bytes_do_not_stop_it(pool: Pool, tmp_path: Path) -> None:
    file = tmp_path / "products.csv"
    file.write_bytes(b"\xef\xbb\xbfsku,name,unit_price,currency\nA,M\xfcg\x00\x07,4.99,GBP\n")
    report = await import_catalogue(pool, file)
    assert report.created == 1
    assert await pool.fetchval("SELECT name FROM products") == "M�g"
