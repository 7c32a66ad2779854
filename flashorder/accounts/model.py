"""What an account, a session and an address are."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from flashorder.kernel.errors import FieldError, InvalidInput
from flashorder.kernel.roles import Role

EMAIL_CHARACTERS_MAX: Final = 254  # RFC 5321, section 4.5.3.1.3, less the angle brackets
PASSWORD_CHARACTERS_MIN: Final = 8
PASSWORD_CHARACTERS_MAX: Final = 256
ADDRESSES_MAX: Final = 50

# What is left of an address's syntax once nobody quotes: one @, nothing invisible.
_EMAIL = re.compile(r"[^@\s\x00-\x1f\x7f]{1,64}@[^@\s\x00-\x1f\x7f]+")

# ISO 3166-1 alpha-2.
_COUNTRY_CODES = (
    "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR "
    "BS BT BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ "
    "EC EE EG EH ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW "
    "GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY "
    "KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV "
    "MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY "
    "QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG "
    "TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM "
    "ZW"
)
COUNTRIES: Final = frozenset(_COUNTRY_CODES.split())


@dataclass(frozen=True, slots=True)
class Account:
    """A person or a program that calls; ``version`` grows with each edit."""

    account_id: uuid.UUID
    email: str
    role: Role
    name: str
    version: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class AddressParts:
    """Where a parcel goes; ``country`` is ISO 3166-1 alpha-2."""

    recipient: str
    line1: str
    city: str
    postal_code: str
    country: str
    line2: str | None = None
    region: str | None = None
    phone: str | None = None


@dataclass(frozen=True, slots=True)
class Address:
    """An address in an account's book."""

    address_id: uuid.UUID
    parts: AddressParts
    version: int


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a sign-in gives: a short-lived access token and a refresh token for one use."""

    access_token: str
    expires_in_seconds: int
    refresh_token: str


def checked_email(text: str) -> str:
    """``text`` without surrounding space; ``InvalidInput`` where it is no e-mail address."""
    email = text.strip()
    if len(email) > EMAIL_CHARACTERS_MAX or not _EMAIL.fullmatch(email):
        raise refused("/email", "is not an e-mail address")
    return email


def checked_password(text: str) -> str:
    """``text``; ``InvalidInput`` where it is too short or absurdly long."""
    if not PASSWORD_CHARACTERS_MIN <= len(text) <= PASSWORD_CHARACTERS_MAX:
        raise refused(
            "/password",
            f"has {PASSWORD_CHARACTERS_MIN} to {PASSWORD_CHARACTERS_MAX} characters",
        )
    return text


def checked_name(text: str) -> str:
    """``text`` without surrounding space; ``InvalidInput`` where nothing is left."""
    name = text.strip()
    if not name:
        raise refused("/name", "must not be blank")
    return name


def checked_address(parts: AddressParts) -> AddressParts:
    """``parts``; ``InvalidInput`` for a country that there is not, or a blank part."""
    if parts.country not in COUNTRIES:
        raise refused("/country", "is not an ISO 3166-1 alpha-2 code")
    for name in ("recipient", "line1", "city", "postal_code"):
        if not getattr(parts, name).strip():
            raise refused(f"/{name}", "must not be blank")
    return parts


def refused(pointer: str, detail: str) -> InvalidInput:
    """A refusal of one field."""
    name = pointer.removeprefix("/")
    return InvalidInput(f"{name} {detail}", fields=(FieldError(pointer, "invalid_value", detail),))
