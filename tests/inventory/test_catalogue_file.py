"""What becomes of a catalogue file, line by line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashorder.inventory.catalogue_file import (
    ERRORS_MAX,
    OPENING_STOCK_UNITS_MIN,
    Catalogue,
    read_catalogue,
)
from flashorder.kernel.errors import InvalidInput
from flashorder.kernel.money import Money

HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"
PLAIN = "sku,name,unit_price,currency"


def order_lines(*lines: tuple[str, str, int | str, float | str]) -> Catalogue:
    rows = [
        f"536365,{code},{name},{quantity},2010-12-01 08:26:00,{price},17850.0,United Kingdom"
        for code, name, quantity, price in lines
    ]
    return read_catalogue([HEADER, *rows])


def test_a_product_a_stock_code_with_median_price_and_commonest_name() -> None:
    catalogue = order_lines(
        ("85123A", "WHITE  HANGING HEART", 6, 2.55),
        ("85123A", "CREAM HANGING HEART", 6, 5.79),
        ("85123a", "CREAM HANGING HEART", 60, 2.95),
        ("85123A", "wet?", -30, 0.0),
        ("85123A", "wet?", -30, 0.0),
        ("85123A", "wet?", -30, 0.0),
    )
    (product,) = catalogue.products
    assert product.sku == "85123A"
    assert product.name == "CREAM HANGING HEART"
    assert product.unit_price == Money(295, "GBP")
    assert catalogue.opening_stock == {"85123A": 7200}
    assert catalogue.errors_total == 0


def test_of_an_even_number_of_prices_the_middle_is_rounded_half_to_even() -> None:
    catalogue = order_lines(("22423", "CAKESTAND", 1, "0.12"), ("22423", "CAKESTAND", 1, "0.13"))
    assert catalogue.products[0].unit_price == Money(12, "GBP")
    assert catalogue.opening_stock == {"22423": OPENING_STOCK_UNITS_MIN}


@given(st.lists(st.integers(1, 5_000), min_size=1, max_size=30))
def test_the_price_is_the_median(pence: list[int]) -> None:
    catalogue = order_lines(*(("22423", "CAKESTAND", 1, f"{each / 100:.2f}") for each in pence))
    ordered = sorted(pence)
    twice = ordered[(len(pence) - 1) // 2] + ordered[len(pence) // 2]
    assert abs(2 * catalogue.products[0].unit_price.amount - twice) <= 1


@pytest.mark.parametrize("code", ["POST", "D", "M", "m", "BANK CHARGES", "DOT", "C2", "AMAZONFEE"])
def test_charges_are_no_products(code: str) -> None:
    catalogue = order_lines((code, "POSTAGE", 1, 18.0), ("gift_0001_20", "VOUCHER", 1, 20.0))
    assert catalogue.products == []
    assert catalogue.no_product_lines == 2
    assert catalogue.errors_total == 0


def test_a_code_without_a_price_is_counted_and_left_out() -> None:
    catalogue = order_lines(("21275", "?", -30, 0.0), ("PADS", "PADS TO MATCH", 1, 0.001))
    assert catalogue.products == []
    assert catalogue.unpriced_codes == 2


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("a,b", "columns"),
        ("1,85123A,X,1.5,d,2.55,c,UK", "quantity"),
        ("1,85123A,X,one,d,2.55,c,UK", "quantity"),
        ("1,85123A,X,1,d,two,c,UK", "unit_price"),
        ("1,85123A,X,1,d,NaN,c,UK", "unit_price"),
        ("1,85123A,X,1,d,1e400,c,UK", "unit_price"),
        ("1,8 5,X,1,d,2.55,c,UK", "sku"),
        (f"1,{'8' * 65},X,1,d,2.55,c,UK", "sku"),
        ("1,{s0},X,1,d,2.55,c,UK", "sku"),
        (f'1,85123A,"{"x" * 200_000}",1,d,2.55,c,UK', "csv"),
    ],
)
def test_a_bad_row_is_reported_by_line_and_the_rest_is_read(line: str, code: str) -> None:
    good = "1,22423,CAKESTAND,1,d,12.75,c,UK"
    catalogue = read_catalogue([HEADER, good, line, "", good])
    assert [(error.line, error.code) for error in catalogue.errors] == [(3, code)]
    assert [product.sku for product in catalogue.products] == ["22423"]


def test_the_list_of_errors_is_bounded_and_their_number_is_not() -> None:
    catalogue = read_catalogue([HEADER, *["bad"] * (ERRORS_MAX + 50)])
    assert len(catalogue.errors) == ERRORS_MAX
    assert catalogue.errors_total == ERRORS_MAX + 50


@pytest.mark.parametrize("header", ["", "a,b,c", "sku,name,unit_price", "sku;name"])
def test_an_unknown_header_is_refused(header: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        read_catalogue([header, "1,2,3"])
    assert raised.value.code == "csv_columns_unknown"


def test_a_product_list_is_read_with_the_currencys_exponent() -> None:
    catalogue = read_catalogue(
        [
            f"{PLAIN},weight_grams",
            'MUG-1,"Mug, blue",4.99,GBP,350',
            "FAN-1,Fan,1200,JPY,",
            "OIL-1,Oil,1.234,KWD,900",
        ]
    )
    assert [each.unit_price for each in catalogue.products] == [
        Money(499, "GBP"),
        Money(1200, "JPY"),
        Money(1234, "KWD"),
    ]
    assert [each.weight_grams for each in catalogue.products] == [350, None, 900]
    assert catalogue.products[0].name == "Mug, blue"
    assert catalogue.opening_stock == {}


@pytest.mark.parametrize(
    ("row", "code"),
    [
        ("MUG-1,,4.99,GBP", "name"),
        ("MUG-1,Mug,-1,GBP", "unit_price"),
        ("MUG-1,Mug,4.99,gbp", "unit_price"),
        ("MUG-1,Mug,4.99,POUNDS", "unit_price"),
        ("MUG-1,Mug,1e15,GBP", "unit_price"),
        ("MUG 1,Mug,4.99,GBP", "sku"),
    ],
)
def test_a_bad_product_is_refused(row: str, code: str) -> None:
    catalogue = read_catalogue([PLAIN, row])
    assert [(error.line, error.code) for error in catalogue.errors] == [(2, code)]
    assert catalogue.products == []


@given(st.text(max_size=300))
def test_no_text_breaks_the_reader(text: str) -> None:
    for header in (HEADER, PLAIN):
        catalogue = read_catalogue([header, *text.splitlines(keepends=True)])
        assert catalogue.errors_total + len(catalogue.products) >= 0
        for product in catalogue.products:
            assert "\0" not in product.name
