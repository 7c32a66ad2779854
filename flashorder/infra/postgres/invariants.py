"""What must always hold in PostgreSQL, said by each room and checked by ``flashorder verify``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Invariant:
    """``sql`` takes no parameters and returns one row a violation, so none is what is hoped for."""

    name: str
    explanation: str
    sql: str
