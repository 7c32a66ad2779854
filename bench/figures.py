"""Figures of rounds in turn: medians, ratios within a turn, and what they are held against."""

from __future__ import annotations

import statistics
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

Round = Mapping[str, float]
"""What one contender did in one turn: figure → value, the unit at the end of its name."""


class Kind(StrEnum):
    """What a contender is to ours."""

    FLOOR = "floor"
    PEER = "peer"
    OURS = "ours"


@dataclass(frozen=True, slots=True)
class Contender:
    """Something that is measured in turn with others."""

    name: str
    kind: Kind
    measure: Callable[[], Awaitable[Round]]


@dataclass(slots=True)
class Series:
    """Rounds by contender; the rounds of one number were measured in one turn."""

    rounds: dict[str, list[Round]] = field(default_factory=dict)

    def median(self, contender: str, figure: str) -> float:
        """The median over the rounds."""
        return statistics.median(self.values(contender, figure))

    def values(self, contender: str, figure: str) -> list[float]:
        """The figure round by round; empty where it was not measured."""
        return [each[figure] for each in self.rounds.get(contender, ()) if figure in each]

    def ratios(self, figure: str, above: str, below: str) -> list[float]:
        """``above / below`` of each turn: what drifts from turn to turn is in both."""
        pairs = zip(self.values(above, figure), self.values(below, figure), strict=False)
        return [a / b for a, b in pairs if b]

    def figures(self) -> list[str]:
        """The names of the figures, as they first came."""
        names: dict[str, None] = {}
        for rounds in self.rounds.values():
            for each in rounds:
                names.update(dict.fromkeys(each))
        return list(names)


async def in_turn(
    contenders: Sequence[Contender], rounds: int, say: Callable[[str], None]
) -> Series:
    """Measure A B C A B C …, ``rounds`` times each."""
    series = Series({each.name: [] for each in contenders})
    for number in range(1, rounds + 1):
        for contender in contenders:
            measured = await contender.measure()
            series.rounds[contender.name].append(measured)
            shown = "  ".join(f"{name} {_short(value)}" for name, value in measured.items())
            say(f"  {number}/{rounds} {contender.name}: {shown}")
    return series


@dataclass(frozen=True, slots=True)
class Claim:
    """A value that has a target: ``at_least`` or, else, at most ``limit``; None: told only."""

    what: str
    values: tuple[float, ...]
    limit: float | None = None
    at_least: bool = False

    @property
    def value(self) -> float:
        """The median."""
        return statistics.median(self.values)

    @property
    def holds(self) -> bool | None:
        """Whether the median keeps the limit."""
        if self.limit is None:
            return None
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def target(self) -> str:
        """The limit in words."""
        if self.limit is None:
            return ""
        return f"{'≥' if self.at_least else '≤'} {self.limit:g}"


def ratio_claim(
    series: Series,
    figure: str,
    above: str,
    below: str,
    *,
    limit: float | None = None,
    at_least: bool = False,
) -> list[Claim]:
    """One claim about a ratio, or none where one of the two was left out."""
    values = series.ratios(figure, above, below)
    if not values:
        return []
    return [Claim(f"{figure}: {above} / {below}", tuple(values), limit, at_least)]


@dataclass(slots=True)
class Outcome:
    """What a scenario found. ``main`` names the figure that the picture shows."""

    scenario: str
    title: str
    main: str
    series: Series
    kinds: dict[str, Kind]
    claims: list[Claim] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "scenario": self.scenario,
            "title": self.title,
            "contenders": {
                name: {
                    "kind": str(self.kinds[name]),
                    "median": {
                        figure: round(self.series.median(name, figure), 4)
                        for figure in self.series.figures()
                        if self.series.values(name, figure)
                    },
                    "rounds": [dict(each) for each in rounds],
                }
                for name, rounds in self.series.rounds.items()
                if rounds
            },
            "claims": [
                {
                    "what": claim.what,
                    "value": round(claim.value, 4),
                    "lowest": round(min(claim.values), 4),
                    "highest": round(max(claim.values), 4),
                    "target": claim.target(),
                    "holds": claim.holds,
                }
                for claim in self.claims
            ],
            "notes": self.notes,
        }


def kinds_of(contenders: Sequence[Contender]) -> dict[str, Kind]:
    """Kind by name."""
    return {each.name: each.kind for each in contenders}


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"
