"""The trace id of what is being done: taken from the caller's ``traceparent``, or fresh.

W3C Trace Context, level 1: ``00-<32 hex trace id>-<16 hex parent id>-<2 hex flags>``. An id is
made only when somebody asks for it, because most requests end without a problem or a log line.
"""

from __future__ import annotations

import random
import re
from contextvars import ContextVar

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")


class Trace:
    """One trace; ``traceparent`` is the caller's header, if there was one."""

    __slots__ = ("_trace_id", "_traceparent")

    def __init__(self, traceparent: str | None = None) -> None:
        self._traceparent = traceparent
        self._trace_id: str | None = None

    @property
    def trace_id(self) -> str:
        """32 hexadecimal digits."""
        if self._trace_id is None:
            match = self._traceparent and _TRACEPARENT.fullmatch(self._traceparent)
            self._trace_id = match[1] if match else f"{random.getrandbits(128):032x}"
        return self._trace_id


current_trace: ContextVar[Trace | None] = ContextVar("current_trace", default=None)


def trace_id() -> str:
    """The trace id of the request or job in progress; fresh where nothing is traced."""
    trace = current_trace.get()
    return trace.trace_id if trace is not None else Trace().trace_id
