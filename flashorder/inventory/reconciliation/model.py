"""The arithmetic of reconciliation. Pure.

The front is read first (one snapshot a shard: stock, sold and the last stream id, which is the
watermark), then the stream up to the watermark, then PostgreSQL in one repeatable-read snapshot.
At the moment of the front's snapshot, for each SKU of a sale::

    available + applied + unreleased + in stream + dead letters held = allotted

Some units moved, or may have moved, between the readings. They are counted as a range on either
side, so that a drift is only what the range cannot explain; and two readings must agree on it.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class Verdict(StrEnum):
    """What one item's readings say."""

    BALANCED = "balanced"
    DRIFTING = "drifting"
    INCONCLUSIVE = "inconclusive"
    FRONT_MISSING = "front_missing"
    """PostgreSQL says that the sale is at the front, and the front does not know it, or was fenced:
    its store is behind what was told."""


@dataclass(frozen=True, slots=True)
class Moving:
    """Units whose side of the snapshot is not known; every one is counted as not negative.

    ``held_above`` may be held at the front beside those counted as held; ``held_below`` are
    counted as held and may have been given back (or not yet been taken again). ``allotted_above``
    and ``allotted_below``: top-ups that may or may not have reached the front.
    """

    held_above: int = 0
    held_below: int = 0
    allotted_above: int = 0
    allotted_below: int = 0


@dataclass(frozen=True, slots=True)
class ItemReading:
    """Units of one SKU of one sale in one reading; ``at_front`` False: the front lacks it, or has
    it fenced."""

    sale_id: uuid.UUID
    sku: str
    generation: int
    allotted: int
    at_front: bool = True
    available: int = 0
    sold: int = 0
    applied: int = 0
    unreleased: int = 0
    in_stream: int = 0
    dead_letters: int = 0
    moving: Moving = field(default_factory=Moving)
    readable: bool = True
    """False: more was in flight than could be read, or the front is of another generation."""

    @property
    def held(self) -> int:
        """Units that somebody has, or that nobody may have yet."""
        return self.applied + self.unreleased + self.in_stream + self.dead_letters

    @property
    def drift(self) -> int:
        """Units that nothing in flight explains: above 0 too many can be sold, below 0 too few.

        It is the end of the range that is nearer to 0, so a correction never goes too far.
        """
        plain = self.available + self.held - self.allotted
        least = plain - self.moving.held_below - self.moving.allotted_above
        most = plain + self.moving.held_above + self.moving.allotted_below
        if least > 0:
            return least
        return min(most, 0)


@dataclass(frozen=True, slots=True)
class ItemResult:
    """One item of a reconciliation; ``drift`` is what both readings agree on, else 0."""

    reading: ItemReading
    verdict: Verdict
    drift: int


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """One run over all sales at the front."""

    reconciliation_id: uuid.UUID
    cause: str
    requested_by: uuid.UUID | None
    started_at: datetime
    finished_at: datetime
    items: tuple[ItemResult, ...]

    @property
    def drift_units(self) -> int:
        """Sum of the absolute drifts."""
        return sum(abs(item.drift) for item in self.items)

    @property
    def front_missing_items(self) -> int:
        """Items that the front has lost; their units are told by no drift."""
        return sum(item.verdict is Verdict.FRONT_MISSING for item in self.items)

    @property
    def status(self) -> str:
        """drifting before inconclusive before balanced."""
        verdicts = {item.verdict for item in self.items}
        if verdicts & {Verdict.DRIFTING, Verdict.FRONT_MISSING}:
            return "drifting"
        return "inconclusive" if Verdict.INCONCLUSIVE in verdicts else "balanced"


@dataclass(frozen=True, slots=True)
class Correction:
    """An adjustment of the front's stock; ``outcome`` None until the front has answered."""

    correction_id: uuid.UUID
    reconciliation_id: uuid.UUID
    sale_id: uuid.UUID
    sku: str
    generation: int
    quantity: int
    outcome: str | None = None


def needs_second(readings: dict[tuple[uuid.UUID, str], ItemReading]) -> bool:
    """Whether anything in the first reading has to be looked at again."""
    return any(not each.readable or not each.at_front or each.drift for each in readings.values())


def judge(first: ItemReading | None, second: ItemReading) -> ItemResult:
    """What two readings of one item say; the same reading twice where one was enough."""
    verdict = _verdict(first, second)
    return ItemResult(second, verdict, second.drift if verdict is Verdict.DRIFTING else 0)


def _verdict(first: ItemReading | None, second: ItemReading) -> Verdict:
    if first is None or not second.readable or not first.readable:
        return Verdict.INCONCLUSIVE
    if not second.at_front:
        return Verdict.INCONCLUSIVE if first.at_front else Verdict.FRONT_MISSING
    if second.drift == 0:
        return Verdict.BALANCED
    agrees = first.at_front and first.drift == second.drift
    return Verdict.DRIFTING if agrees else Verdict.INCONCLUSIVE


def correction_quantity(result: ItemResult) -> int:
    """Units to add at the front (negative: to take back), never more than are available."""
    return -min(result.drift, result.reading.available) if result.drift else 0
