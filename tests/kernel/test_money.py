"""Money: minor units, exponents, and no mixing of currencies."""

from __future__ import annotations

import pytest

from flashorder.kernel.errors import InvalidInput
from flashorder.kernel.money import AMOUNT_MAX, Money, exponent


@pytest.mark.parametrize(
    ("text", "currency", "amount"),
    [
        ("19.99", "GBP", 1999),
        ("0.005", "GBP", 0),  # half to even
        ("0.015", "GBP", 2),
        ("500", "JPY", 500),
        ("1.234", "KWD", 1234),
        ("-3", "GBP", -300),
    ],
)
def test_major_units_are_read_at_the_currency_s_exponent(
    text: str, currency: str, amount: int
) -> None:
    assert Money.from_decimal(text, currency) == Money(amount, currency)


@pytest.mark.parametrize("text", ["", "x", "NaN", "Infinity", "1,5", "9" * 30])
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        Money.from_decimal(text, "GBP")
    with pytest.raises(InvalidInput):
        Money.from_person(text, "GBP")


@pytest.mark.parametrize(
    ("text", "currency", "amount"),
    [("1.99", "GBP", 199), ("2", "GBP", 200), ("1.990", "GBP", 199), ("1.234", "KWD", 1234)],
)
def test_what_a_person_writes_is_read_as_it_stands(text: str, currency: str, amount: int) -> None:
    assert Money.from_person(text, currency) == Money(amount, currency)


@pytest.mark.parametrize(
    ("text", "currency"), [("1.999", "GBP"), ("1.5", "JPY"), ("0.001", "GBP"), ("1.2345", "KWD")]
)
def test_what_a_person_writes_is_not_rounded(text: str, currency: str) -> None:
    with pytest.raises(InvalidInput, match="finer than"):
        Money.from_person(text, currency)


@pytest.mark.parametrize("currency", ["", "gbp", "GB", "GBPX", "£££"])
def test_what_is_no_currency_is_refused(currency: str) -> None:
    with pytest.raises(InvalidInput):
        Money(1, currency)


def test_arithmetic_keeps_the_currency() -> None:
    assert Money(5, "GBP") + Money(7, "GBP") == Money(12, "GBP")
    assert Money(5, "GBP") - Money(7, "GBP") == Money(-2, "GBP")
    assert Money(5, "GBP") * 3 == Money(15, "GBP")
    with pytest.raises(InvalidInput):
        Money(5, "GBP") + Money(5, "JPY")
    with pytest.raises(InvalidInput):
        Money(AMOUNT_MAX, "GBP") * 2


def test_it_reads_as_people_write_it() -> None:
    assert str(Money(1999, "GBP")) == "19.99 GBP"
    assert str(Money(500, "JPY")) == "500 JPY"
    assert str(Money(1234, "KWD")) == "1.234 KWD"
    assert (exponent("JPY"), exponent("GBP"), exponent("KWD")) == (0, 2, 3)
    assert Money(1999, "GBP").as_json() == {"amount": 1999, "currency": "GBP"}
