"""What clients saw: each call as it is made, and its answer as it comes, appended to a file.

Two lines a call, because a harness that dies between them must not forget the call: what was asked
and not answered is unknown, as for any client. Times are by one monotonic clock of this machine, so
"before" and "after" are facts; the wall clock stands beside for people.
"""

from __future__ import annotations

import math
import os
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Self

import msgspec

FAULT, FAULT_ENDS = "fault", "end of fault "
LOSS, REBUILT = "fault: the store loses everything", "the sale is rebuilt"


class Outcome(StrEnum):
    """What a client may conclude from what came back."""

    OK = "ok"
    REFUSED = "refused"
    """The service said no: this call has done nothing and never will."""
    UNKNOWN = "unknown"
    """A time-out, a reset, an answer that promises nothing: it may have been done, or be done yet.
    """


class Asked(msgspec.Struct, frozen=True, tag="asked"):
    """A call leaves. ``subject`` is the sale or order; ``at`` monotonic, ``wall`` Unix, seconds."""

    number: int
    what: str
    buyer: str
    subject: str
    key: str
    body: dict[str, Any]
    at: float
    wall: float


class Answered(msgspec.Struct, frozen=True, tag="answered"):
    """An answer came, or the client gave up on it. ``status`` 0: there was none."""

    number: int
    outcome: Outcome
    status: int
    code: str
    body: dict[str, Any]
    at: float
    wall: float


class Happened(msgspec.Struct, frozen=True, tag="happened"):
    """What the harness did: a fault, its end, a phase of the run."""

    what: str
    at: float
    wall: float


Line = Asked | Answered | Happened
_DECODER = msgspec.json.Decoder(Line)


@dataclass(frozen=True, slots=True)
class Call:
    """One call with its answer; ``answered_at`` is infinite where none came."""

    asked: Asked
    answered: Answered | None

    @property
    def what(self) -> str:
        """ "buy", "pay", "cancel", "look", …"""
        return self.asked.what

    @property
    def asked_at(self) -> float:
        """Monotonic seconds."""
        return self.asked.at

    @property
    def answered_at(self) -> float:
        """Monotonic seconds. What a client gave up on may still be done: it has no end."""
        return math.inf if self.outcome is Outcome.UNKNOWN else self._answer.at

    @property
    def outcome(self) -> Outcome:
        """Unknown without an answer."""
        return Outcome.UNKNOWN if self.answered is None else self.answered.outcome

    @property
    def code(self) -> str:
        """The problem's code, or empty."""
        return "" if self.answered is None else self.answered.code

    @property
    def status(self) -> int:
        """Of the answer; 0 without one."""
        return 0 if self.answered is None else self.answered.status

    @property
    def body(self) -> dict[str, Any]:
        """The answer's body."""
        return {} if self.answered is None else self.answered.body

    @property
    def _answer(self) -> Answered:
        assert self.answered is not None, "a call without an answer is unknown"
        return self.answered

    def __str__(self) -> str:
        told = "no answer" if self.answered is None else f"{self.outcome} {self.answered.status}"
        code = f" {self.code}" if self.code else ""
        return (
            f"#{self.asked.number} {self.what} {self.asked.subject} by {self.asked.buyer} "
            f"key {self.asked.key} at {self.asked_at:.3f}: {told}{code}"
        )


@dataclass(frozen=True)
class History:
    """All calls in the order in which they left, and what the harness did meanwhile."""

    calls: tuple[Call, ...]
    happened: tuple[Happened, ...] = ()

    def of(self, what: str) -> Iterator[Call]:
        """The calls of one kind."""
        return (call for call in self.calls if call.what == what)

    def losses(self) -> list[tuple[float, float]]:
        """From when to when the store was without what it had lost; monotonic."""
        begins = [line.at for line in self.happened if line.what == LOSS]
        ends = [line.at for line in self.happened if line.what == REBUILT]
        return list(zip(begins, [*ends, math.inf], strict=False))

    def purchases(self) -> Mapping[tuple[str, str, str], list[Call]]:
        """The attempts of each (buyer, sale, key), in the order in which they left."""
        return self._purchases

    @cached_property
    def _purchases(self) -> Mapping[tuple[str, str, str], list[Call]]:
        """Put together once: every check that is about purchases asks for them."""
        attempts: dict[tuple[str, str, str], list[Call]] = defaultdict(list)
        for call in self.of("buy"):
            attempts[call.asked.buyer, call.asked.subject, call.asked.key].append(call)
        return MappingProxyType(dict(attempts))


@dataclass(slots=True)
class HistoryFile:
    """Appends lines; each is with the kernel before the call that it is about leaves."""

    path: Path
    _descriptor: int = field(default=-1, init=False)
    _asked: int = field(default=0, init=False)

    def __enter__(self) -> Self:
        self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        os.close(self._descriptor)

    def asks(self, what: str, buyer: str, subject: str, key: str, body: dict[str, Any]) -> Asked:
        """A call is about to leave."""
        self._asked += 1
        asked = Asked(self._asked, what, buyer, subject, key, body, time.monotonic(), time.time())
        self._write(asked)
        return asked

    def answers(
        self, asked: Asked, outcome: Outcome, status: int, code: str, body: dict[str, Any]
    ) -> Call:
        """What came of it."""
        answered = Answered(
            asked.number, outcome, status, code, body, time.monotonic(), time.time()
        )
        self._write(answered)
        return Call(asked, answered)

    def happens(self, what: str) -> Happened:
        """The harness did something."""
        line = Happened(what, time.monotonic(), time.time())
        self._write(line)
        return line

    def _write(self, line: Line) -> None:
        os.write(self._descriptor, msgspec.json.encode(line) + b"\n")


def read_history(path: Path) -> History:
    """The history in ``path``; a last line that was cut off is passed over."""
    with path.open("rb") as file:
        # What stands behind the last line feed is cut off.
        return history_of(_DECODER.decode(line) for line in file if line.endswith(b"\n"))


def history_of(lines: Iterable[Line]) -> History:
    """Calls put together from their lines."""
    asked: dict[int, Asked] = {}
    answered: dict[int, Answered] = {}
    happened: list[Happened] = []
    for line in lines:
        if isinstance(line, Asked):
            asked[line.number] = line
        elif isinstance(line, Answered):
            answered[line.number] = line
        else:
            happened.append(line)
    return History(
        tuple(Call(each, answered.get(number)) for number, each in sorted(asked.items())),
        tuple(happened),
    )


def accepted(attempts: Sequence[Call]) -> list[Call]:
    """The attempts that were told of an order."""
    return [call for call in attempts if call.outcome is Outcome.OK]
