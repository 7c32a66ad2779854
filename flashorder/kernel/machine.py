"""A state machine is a table; the same table guards the SQL, draws the docs and drives the tests.

A room declares its states as a ``StrEnum`` and the table as ``Machine``; an update then reads
``UPDATE … SET status = $to WHERE id = $1 AND status = ANY($from) RETURNING …`` with
``machine.sources(to)`` as ``$from``. No row back means that the race was lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

from flashorder.kernel.errors import InvalidState

S = TypeVar("S", bound=StrEnum)


@dataclass(frozen=True)
class Machine(Generic[S]):
    """``transitions[state]`` is what ``state`` may turn into; ``initial`` begins."""

    name: str
    initial: S
    transitions: Mapping[S, frozenset[S]]

    def __post_init__(self) -> None:
        states = set(type(self.initial))
        assert set(self.transitions) == states, f"{self.name}: a state has no row"
        assert all(targets <= states for targets in self.transitions.values())

    def sources(self, target: S) -> list[str]:
        """The states that ``target`` may be entered from, as the guard of an UPDATE wants them."""
        return [str(state) for state, targets in self.transitions.items() if target in targets]

    def permits(self, source: S, target: S) -> bool:
        """Whether ``source`` may turn into ``target``."""
        return target in self.transitions[source]

    def check(self, source: S, target: S) -> None:
        """Raise ``InvalidState`` unless ``source`` may turn into ``target``."""
        if source == target and not self.permits(source, target):
            raise InvalidState(f"the {self.name} is {source} already")
        if not self.permits(source, target):
            raise InvalidState(f"the {self.name} is {source} and cannot become {target}")

    def terminal(self) -> frozenset[S]:
        """The states that nothing leaves."""
        return frozenset(state for state, targets in self.transitions.items() if not targets)

    def pairs(self) -> Iterator[tuple[S, S]]:
        """Every permitted (source, target)."""
        for source, targets in self.transitions.items():
            for target in sorted(targets):
                yield source, target
