"""Ids of entries as the stream has them, compared. Pure."""

from __future__ import annotations

from enum import StrEnum


class Begun(StrEnum):
    """What became of beginning a life; see lua/begin_life.lua."""

    BEGUN = "begun"
    ALREADY = "already"
    BEHIND = "behind"
    MOVED = "moved"


class Fenced(StrEnum):
    """What became of fencing one sale; see lua/fence_sale.lua."""

    FENCED = "fenced"
    ALREADY = "already"
    SALE_MISSING = "sale_missing"
    MOVED = "moved"
    GIVEN_UP = "given_up"


class GivenUp(StrEnum):
    """What became of going on without what is missing; see lua/give_up.lua."""

    GIVEN_UP = "given_up"
    ALREADY = "already"
    MOVED = "moved"


class Marked(StrEnum):
    """What became of a mark; see lua/mark.lua."""

    MARKED = "marked"
    MOVED = "moved"


def numbers_of(entry_id: bytes) -> tuple[int, int]:
    """``b"1700000000000-3"`` as (milliseconds, sequence)."""
    milliseconds, _, sequence = entry_id.partition(b"-")
    return int(milliseconds), int(sequence)


def id_of(milliseconds: int, sequence: int) -> bytes:
    """The reverse of ``numbers_of``."""
    return b"%d-%d" % (milliseconds, sequence)


def highest(*entry_ids: bytes) -> bytes:
    """The one that the stream had last."""
    return max(entry_ids, key=numbers_of)
