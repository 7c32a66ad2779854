"""What a look at a machine or a store found, and how to mend it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from flashorder.kernel.errors import Misconfigured


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARNING = "warning"
    """It works, and will be slow or fail under load."""
    ERROR = "error"
    """A promise of the service does not hold like this."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of ``flashorder doctor``; ``mend`` says what to do, empty where nothing is wrong."""

    subject: str
    name: str
    level: Level
    detail: str
    mend: str = ""


def judge(
    subject: str, name: str, detail: str, mend: str, *, holds: bool, otherwise: Level = Level.ERROR
) -> Finding:
    """A finding that is ok when ``holds``, else of level ``otherwise`` with its ``mend``."""
    if holds:
        return Finding(subject, name, Level.OK, detail)
    return Finding(subject, name, otherwise, detail, mend)


def require(findings: Iterable[Finding]) -> None:
    """Raise ``Misconfigured`` with every error among ``findings`` and its mend."""
    errors = [each for each in findings if each.level is Level.ERROR]
    if errors:
        raise Misconfigured("; ".join(f"{each.detail}: {each.mend}" for each in errors))
