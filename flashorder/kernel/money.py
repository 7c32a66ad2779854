"""Money: an integer amount of minor units and an ISO 4217 currency. Never a float."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation

from flashorder.kernel.errors import InvalidInput

AMOUNT_MAX = 10**15
"""The largest amount accepted, in minor units: far below 2**53, so that every client reads it."""

_EXPONENTS = {
    **dict.fromkeys(("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG"), 0),
    **dict.fromkeys(("RWF", "UGX", "VND", "VUV", "XAF", "XOF", "XPF"), 0),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
}


def exponent(currency: str) -> int:
    """Digits behind the point of ``currency`` (ISO 4217): JPY 0, GBP 2, KWD 3."""
    return _EXPONENTS.get(currency, 2)


@dataclass(frozen=True, slots=True, order=True)
class Money:
    """``amount`` in minor units of ``currency`` (three capital letters)."""

    amount: int
    currency: str

    def __post_init__(self) -> None:
        if not (len(self.currency) == 3 and self.currency.isascii() and self.currency.isupper()):
            raise InvalidInput(f"{self.currency!r} is not an ISO 4217 currency code")
        if abs(self.amount) > AMOUNT_MAX:
            raise InvalidInput("the amount is out of range")

    def __add__(self, other: Money) -> Money:
        self._same_currency(other)
        return Money(self.amount + other.amount, self.currency)

    def __sub__(self, other: Money) -> Money:
        self._same_currency(other)
        return Money(self.amount - other.amount, self.currency)

    def __mul__(self, quantity: int) -> Money:
        return Money(self.amount * quantity, self.currency)

    def __str__(self) -> str:
        return f"{Decimal(self.amount).scaleb(-exponent(self.currency))} {self.currency}"

    def as_json(self) -> dict[str, int | str]:
        """The form of the HTTP contract: ``{"amount": 1999, "currency": "GBP"}``."""
        return {"amount": self.amount, "currency": self.currency}

    @classmethod
    def from_decimal(cls, text: str, currency: str) -> Money:
        """Read ``"19.99"`` in major units; rounds half to even at the currency's exponent."""
        units = _minor_units(text, currency)
        return cls(int(units.to_integral_value(ROUND_HALF_EVEN)), currency)

    @classmethod
    def from_person(cls, text: str, currency: str) -> Money:
        """Read ``"19.99"`` as a person means it: more digits than the currency has are refused."""
        units = _minor_units(text, currency)
        if units != units.to_integral_value():
            digits = exponent(currency) or "no"
            raise InvalidInput(f"{text!r} is finer than {currency}, which has {digits} decimals")
        return cls(int(units), currency)

    def _same_currency(self, other: Money) -> None:
        if other.currency != self.currency:
            raise InvalidInput(f"cannot combine {self.currency} with {other.currency}")


def _minor_units(text: str, currency: str) -> Decimal:
    try:
        units = Decimal(text).scaleb(exponent(currency))
    except InvalidOperation:
        raise InvalidInput(f"{text!r} is not an amount of money") from None
    if not units.is_finite():
        raise InvalidInput(f"{text!r} is not an amount of money")
    return units
