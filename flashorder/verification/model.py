"""What verification says. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

EXAMPLES_MAX = 5


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One invariant: how often it is violated, and the first few times in detail."""

    room: str
    name: str
    explanation: str
    violations: int
    examples: tuple[dict[str, Any], ...] = ()


@dataclass(slots=True)
class Violations:
    """Counts violations and keeps the first few, however many there are."""

    count: int = 0
    examples: list[dict[str, Any]] = field(default_factory=list)

    def add(self, **example: Any) -> None:
        """One violation."""
        self.count += 1
        if len(self.examples) < EXAMPLES_MAX:
            self.examples.append(example)

    def result(self, room: str, name: str, explanation: str) -> CheckResult:
        """The check that these are the violations of."""
        return CheckResult(room, name, explanation, self.count, tuple(self.examples))


@dataclass(frozen=True, slots=True)
class InFlight:
    """Work that has begun and not ended; all 0 at a quiet moment."""

    stream_entries: int
    outbox_events: int
    unreleased_orders: int
    unapplied_top_ups: int
    unanswered_corrections: int

    @property
    def total(self) -> int:
        """Everything together."""
        return sum(getattr(self, name) for name in self.__slots__)

    def __str__(self) -> str:
        counts = ((name.replace("_", " "), getattr(self, name)) for name in self.__slots__)
        return ", ".join(f"{count} {name}" for name, count in counts if count) or "nothing"


@dataclass(frozen=True, slots=True)
class Report:
    """Every check, and what was in flight when they were made."""

    in_flight: InFlight
    checks: tuple[CheckResult, ...]

    @property
    def holds(self) -> bool:
        """Whether no check was violated."""
        return not any(check.violations for check in self.checks)


def violated(checks: Iterable[CheckResult]) -> list[str]:
    """``room.name`` of the checks that do not hold."""
    return [f"{each.room}.{each.name}" for each in checks if each.violations]
