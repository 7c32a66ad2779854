"""Structured logs on standard error, without secrets.

One line an event, JSON or for a terminal. Three things keep secrets out: values under keys that
name a secret are masked, shapes of secrets (a bearer token, a JWT, the password in a URL) are
masked wherever they stand, and tracebacks are printed without local variables.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from contextlib import suppress
from typing import Any, Final, TextIO, cast

import structlog
from structlog.typing import Processor

from flashorder.infra.telemetry.tracing import current_trace
from flashorder.settings import Settings

MASK: Final = "•••"
_SECRET_NAME = re.compile(
    r"authorization|passw|token|cookie|secret|signature|api_?key|credential|private", re.IGNORECASE
)
_SECRET_SHAPES: Final = (
    # scheme://user:password@host
    (re.compile(r"([a-z][a-z0-9+.-]*://[^/\s:@]*):[^@/\s]+@", re.IGNORECASE), rf"\1:{MASK}@"),
    (re.compile(r"\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE), rf"\1 {MASK}"),
    (re.compile(r"\beyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*"), MASK),
    (re.compile(r"\$argon2[a-z]+\$[^\s'\"]+"), MASK),
    # PostgreSQL shows the row or the key that it refuses, and so whose it is.
    (
        re.compile(
            r"(DETAIL:\s+(?:Failing row contains|Key [^=]*=))"
            r".*?(?=\n(?:HINT|CONTEXT|QUERY):|\n\n|\Z)",
            re.DOTALL,
        ),
        rf"\1 {MASK}",
    ),
)
# What a key may be called although it looks like a secret's: numbers of tokens and the like.
_HARMLESS_TYPES: Final = (bool, int, float, type(None))


def configure_logging(settings: Settings, *, stream: TextIO | None = None) -> None:
    """Set up structlog and the standard library's logging for this process."""
    out = _Lines(stream)
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_trace,
    ]
    last = _renderers(settings.log_format)
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(cast("TextIO", out)),
        cache_logger_on_first_use=False,
    )
    # What libraries say through the standard library goes the same way.
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(max(level, logging.INFO))


class _Lines:
    """Standard error as it is at each line. A line that cannot be written is lost, never raised:

    a full disk or a closed pipe must not reach the work that wanted to tell something.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with suppress(OSError, ValueError):
            (self._stream or sys.stderr).write(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            (self._stream or sys.stderr).flush()


def mask_secrets(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """The event without secrets; a processor."""
    return {name: _masked_under(name, value) for name, value in event.items()}


def masked_text(text: str) -> str:
    """``text`` with everything masked that has the shape of a secret."""
    for shape, replacement in _SECRET_SHAPES:
        text = shape.sub(replacement, text)
    return text


def _masked_under(name: Any, value: Any) -> Any:
    if (
        isinstance(name, str)
        and _SECRET_NAME.search(name)
        and name != "event"
        and not isinstance(value, _HARMLESS_TYPES)
    ):
        return MASK
    return _masked(value)


def _masked(value: Any) -> Any:
    if isinstance(value, str):
        return masked_text(value)
    if isinstance(value, Mapping):
        return {name: _masked_under(name, each) for name, each in value.items()}
    if isinstance(value, Sequence | set | frozenset) and not isinstance(value, bytes | bytearray):
        return [_masked(each) for each in value]
    if isinstance(value, _HARMLESS_TYPES):
        return value
    # Whatever else there is would be shown by its repr, so that is what is looked at.
    return masked_text(value.decode(errors="replace") if isinstance(value, bytes) else repr(value))


def _add_trace(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    trace = current_trace.get()
    if trace is not None:
        event.setdefault("trace_id", trace.trace_id)
    return event


def _renderers(log_format: str) -> list[Processor]:
    if log_format == "console":
        return [
            structlog.processors.format_exc_info,
            mask_secrets,
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            ),
        ]
    return [
        structlog.processors.format_exc_info,
        mask_secrets,
        structlog.processors.JSONRenderer(ensure_ascii=False),
    ]
