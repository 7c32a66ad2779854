"""Catalogue files: order lines in the Online Retail format, and plain product lists. No database.

**Order lines** (InvoiceNo, StockCode, Description, Quantity, InvoiceDate, UnitPrice, CustomerID,
Country; D. Chen, doi:10.24432/C5BW33) become one product per stock code:

- The SKU is the code in capitals: the file writes the same article in both cases.
- The price is the median of the code's positive unit prices in GBP, rounded half to even to pence.
- The name is the most frequent description among the lines with such a price (of equals the first):
  lines without a price carry a stock keeper's notes ("check", "damaged?").
- Codes for postage, bank charges, vouchers and the like are no products and are left out, as are
  codes that never had a price of at least a penny.
- The file knows no stock. Opening stock is an estimate: a hundred times the units sold in the file,
  and at least a thousand.

**Product lists** (sku, name, unit_price in major units, currency, optionally weight_grams) become
one product a line, without stock; of two lines with one SKU the later counts.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING

from flashorder.inventory.model import (
    NAME_CHARACTERS_MAX,
    WEIGHT_GRAMS_MAX,
    Product,
    is_sku,
)
from flashorder.kernel.errors import InvalidInput
from flashorder.kernel.money import Money

if TYPE_CHECKING:
    from _csv import Reader

ORDER_LINE_COLUMNS = (
    "InvoiceNo",
    "StockCode",
    "Description",
    "Quantity",
    "InvoiceDate",
    "UnitPrice",
    "CustomerID",
    "Country",
)
PRODUCT_COLUMNS = ("sku", "name", "unit_price", "currency")
PRODUCT_COLUMNS_WITH_WEIGHT = (*PRODUCT_COLUMNS, "weight_grams")
ERRORS_MAX = 100
PRODUCTS_MAX = 1_000_000
OPENING_STOCK_FACTOR = 100
OPENING_STOCK_UNITS_MIN = 1_000
OPENING_STOCK_UNITS_MAX = 10_000_000
PROGRESS_LINES = 10_000

# Postage, discount, carriage, manual corrections, charges, samples, bad debt, commission.
_NO_PRODUCTS = frozenset(
    {
        "ADJUST",
        "ADJUST2",
        "AMAZONFEE",
        "B",
        "BANK CHARGES",
        "C2",
        "C3",
        "CRUK",
        "D",
        "DOT",
        "M",
        "POST",
        "S",
        "SAMPLES",
        "TEST001",
        "TEST002",
    }
)
_VOUCHER_PREFIX = "GIFT_"


@dataclass(frozen=True, slots=True)
class RowError:
    """A row that was left out: ``line`` counts from 1, the header included."""

    line: int
    code: str
    detail: str


@dataclass(slots=True)
class Catalogue:
    """What a file says. ``errors`` keeps the first hundred, ``errors_total`` counts all."""

    form: str
    lines_read: int = 0
    products: list[Product] = field(default_factory=list)
    opening_stock: dict[str, int] = field(default_factory=dict)
    no_product_lines: int = 0
    unpriced_codes: int = 0
    errors: list[RowError] = field(default_factory=list)
    errors_total: int = 0

    def refuse(self, line: int, code: str, detail: str) -> None:
        """Note a row that cannot be read, and go on."""
        self.errors_total += 1
        if len(self.errors) < ERRORS_MAX:
            self.errors.append(RowError(line, code, detail))


@dataclass(slots=True)
class _Article:
    """What the lines of one stock code add up to; its size is bounded by distinct values."""

    names: Counter[str] = field(default_factory=Counter)
    prices: Counter[Decimal] = field(default_factory=Counter)
    units_sold: int = 0


class _RowRefused(Exception):
    def __init__(self, code: str, detail: str) -> None:
        self.code = code
        self.detail = detail
        super().__init__(code)


def read_catalogue(
    lines: Iterable[str], progress: Callable[[int], None] = lambda _lines: None
) -> Catalogue:
    """Read a catalogue file line by line; memory grows with the products, not with the lines.

    ``progress`` is told the number of lines read, now and then. Rows that cannot be read are noted
    in the result by line number and do not stop it; ``InvalidInput`` when the header is unknown.
    """
    reader = csv.reader(lines)
    try:
        header = tuple(cell.strip() for cell in next(reader, []))
    except csv.Error as error:
        raise InvalidInput(f"the header cannot be read: {error}", code="csv_invalid") from None
    articles: dict[str, _Article] = {}
    listed: dict[str, Product] = {}
    if header == ORDER_LINE_COLUMNS:
        catalogue = Catalogue("order_lines")

        def take(row: list[str]) -> None:
            _take_order_line(row, articles, catalogue)

    elif header in (PRODUCT_COLUMNS, PRODUCT_COLUMNS_WITH_WEIGHT):
        catalogue = Catalogue("products")

        def take(row: list[str]) -> None:
            product = _product(row)
            _refuse_beyond(listed, product.sku)
            listed[product.sku] = product

    else:
        raise InvalidInput(
            f"the columns are neither {','.join(ORDER_LINE_COLUMNS)} nor "
            f"{','.join(PRODUCT_COLUMNS)}[,weight_grams]",
            code="csv_columns_unknown",
        )
    _read_rows(reader, len(header), catalogue, take, progress)
    catalogue.products.extend(listed.values())
    for sku, article in articles.items():
        _settle(sku, article, catalogue)
    progress(catalogue.lines_read)
    return catalogue


def _read_rows(
    reader: Reader,
    columns: int,
    catalogue: Catalogue,
    take: Callable[[list[str]], None],
    progress: Callable[[int], None],
) -> None:
    while True:
        try:
            row = next(reader)
            if row:  # an empty line is none
                catalogue.lines_read += 1
                if len(row) != columns:
                    raise _RowRefused("columns", f"{len(row)} columns instead of {columns}")
                take(row)
        except StopIteration:
            return
        except csv.Error as error:
            catalogue.refuse(reader.line_num, "csv", str(error))
        except _RowRefused as error:
            catalogue.refuse(reader.line_num, error.code, error.detail)
        if reader.line_num % PROGRESS_LINES == 0:
            progress(catalogue.lines_read)


def _take_order_line(row: list[str], articles: dict[str, _Article], catalogue: Catalogue) -> None:
    _, code, description, quantity_text, _, price_text, _, _ = row
    sku = code.strip().upper()
    if sku in _NO_PRODUCTS or sku.startswith(_VOUCHER_PREFIX):
        catalogue.no_product_lines += 1
        return
    _checked_sku(sku)
    quantity = _integer(quantity_text, "quantity")
    price = _decimal(price_text, "unit_price")
    _refuse_beyond(articles, sku)
    article = articles.setdefault(sku, _Article())
    if quantity > 0:
        article.units_sold += quantity
    if price > 0:
        article.prices[price] += 1
        name = _clean_name(description)
        if name:
            article.names[name] += 1


def _settle(sku: str, article: _Article, catalogue: Catalogue) -> None:
    price = Money(0, "GBP")
    if article.prices:
        price = Money.from_decimal(str(_median(article.prices)), "GBP")
    if price.amount == 0:
        catalogue.unpriced_codes += 1
        return
    name = article.names.most_common(1)[0][0] if article.names else sku
    catalogue.products.append(Product(sku=sku, name=name, unit_price=price))
    units = max(OPENING_STOCK_UNITS_MIN, OPENING_STOCK_FACTOR * article.units_sold)
    catalogue.opening_stock[sku] = min(units, OPENING_STOCK_UNITS_MAX)


def _median(counts: Counter[Decimal]) -> Decimal:
    """Of an even number, the mean of the two in the middle; without writing the values out."""
    total = counts.total()
    low_rank, high_rank = (total - 1) // 2, total // 2
    passed = 0
    low: Decimal | None = None
    for value in sorted(counts):
        passed += counts[value]
        if low is None and passed > low_rank:
            low = value
        if low is not None and passed > high_rank:
            return (low + value) / 2
    raise AssertionError("the median of nothing was asked for")


def _product(row: list[str]) -> Product:
    sku, name, price_text, currency = (cell.strip() for cell in row[:4])
    _checked_sku(sku)
    name = _clean_name(name)
    if not name:
        raise _RowRefused("name", "the name is empty")
    _decimal(price_text, "unit_price")
    try:
        price = Money.from_decimal(price_text, currency)
    except InvalidInput as error:
        raise _RowRefused("unit_price", error.detail) from None
    if price.amount < 0:
        raise _RowRefused("unit_price", "the price is negative")
    weight_grams = None
    if len(row) > len(PRODUCT_COLUMNS) and row[4].strip():
        weight_grams = _integer(row[4], "weight_grams")
        if not 0 <= weight_grams <= WEIGHT_GRAMS_MAX:
            raise _RowRefused("weight_grams", f"{weight_grams} is not 0 to {WEIGHT_GRAMS_MAX}")
    return Product(sku=sku, name=name, unit_price=price, weight_grams=weight_grams)


def _checked_sku(sku: str) -> None:
    if not is_sku(sku):
        raise _RowRefused("sku", f"{sku[:80]!r} is not a code of letters, digits, '.', '_', '-'")


def _refuse_beyond(known: dict[str, _Article] | dict[str, Product], sku: str) -> None:
    if len(known) >= PRODUCTS_MAX and sku not in known:
        raise _RowRefused("too_many", f"a file brings at most {PRODUCTS_MAX} products")


def _clean_name(text: str) -> str:
    printable = "".join(each if each.isprintable() else " " for each in text)
    return " ".join(printable.split())[:NAME_CHARACTERS_MAX].rstrip()


def _integer(text: str, column: str) -> int:
    try:
        number = int(text) if len(text) <= 12 else None
    except ValueError:
        number = None
    if number is None:
        raise _RowRefused(column, f"{text[:80]!r} is not a whole number")
    return number


def _decimal(text: str, column: str) -> Decimal:
    try:
        number = Decimal(text.strip()) if len(text) <= 32 else Decimal("NaN")
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite() or abs(number.adjusted()) > 15:
        raise _RowRefused(column, f"{text[:80]!r} is not an amount")
    return number
