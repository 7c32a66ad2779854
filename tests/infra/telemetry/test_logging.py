"""A canary in every place where a secret may stand; none may sing."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import structlog

from flashorder.infra.telemetry.logging import MASK, configure_logging
from flashorder.infra.telemetry.tracing import Trace, current_trace
from tests.infra.http.serving import make_settings

CANARY = "c4n4ry0123456789"
JWT = f"eyJhbGciOiJIUzI1NiJ9.eyJ{CANARY}.{CANARY}"


@contextmanager
def logging_as(**settings: Any) -> Iterator[Callable[[], str]]:
    """Everything that was logged; logging is as before afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    stream = io.StringIO()
    configure_logging(make_settings(**settings), stream=stream)
    try:
        yield stream.getvalue
    finally:
        structlog.reset_defaults()
        root.handlers, root.level = handlers, level


@pytest.fixture(params=["json", "console"])
def logged(request: pytest.FixtureRequest) -> Iterator[Callable[[], str]]:
    """Everything that was logged, in either format."""
    with logging_as(log_format=request.param) as said:
        yield said


class Holder:
    """Something that shows a secret in its repr."""

    def __repr__(self) -> str:
        return f"<Holder Bearer {CANARY}>"


def test_no_secret_is_logged_wherever_it_stands(logged: Callable[[], str]) -> None:
    log = structlog.get_logger("test")
    log.info(
        "under_a_name",
        authorization=CANARY,
        password=CANARY,
        refresh_token=CANARY,
        Cookie=CANARY,
        webhook_signature=CANARY.encode(),
        api_key=CANARY,
        nested={"deep": [{"client_secret": CANARY, "harmless": 1}]},
    )
    log.info(
        "in_a_url", url=f"redis://user:{CANARY}@host:6379/0", dsn=f"postgresql://:{CANARY}@h/d"
    )
    log.info("in_a_text", header=f"Bearer {CANARY}", claims=JWT, held=Holder(), raw=JWT.encode())
    log.info(f"event Bearer {CANARY}")
    log.info("hash", kept=f"$argon2id$v=19$m=19456,t=2,p=1${CANARY}$x")
    for detail in (
        f"DETAIL:  Failing row contains (1, {CANARY}\n(x), {CANARY}, null).",
        f"DETAIL:  Key (lower(email))=({CANARY}@shop.example) already exists.\nHINT:  harmless",
    ):
        log.info("row", error=f'relation "x" violates a constraint\n{detail}\n\nharmless')
    log.info("in_a_list", everything=[f"Bearer {CANARY}", {JWT}, (JWT,)])
    said = logged()
    assert "canary" not in said.lower()
    assert CANARY not in said
    assert MASK in said
    assert "harmless" in said


def test_a_traceback_shows_neither_locals_nor_secrets(logged: Callable[[], str]) -> None:
    def fail() -> None:
        hidden = CANARY
        assert hidden
        raise RuntimeError(f"could not connect to postgresql://ada:{CANARY}@db/")

    try:
        fail()
    except RuntimeError as error:
        structlog.get_logger("test").error("failed", exc_info=error)
        logging.getLogger("library").error("failed", exc_info=error)
    said = logged()
    assert "RuntimeError" in said
    assert said.count("could not connect") >= 2
    assert CANARY not in said


def test_libraries_log_the_same_way(logged: Callable[[], str]) -> None:
    logging.getLogger("asyncio").warning("slow: Bearer %s", CANARY)
    said = logged()
    assert "slow: Bearer" in said
    assert CANARY not in said


def test_a_line_carries_the_trace_of_its_request() -> None:
    trace = Trace()
    token = current_trace.set(trace)
    with logging_as() as said:
        structlog.get_logger("test").warning("something", number=1, tokens_remembered=5)
    current_trace.reset(token)
    line = json.loads(said())
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "something",
        "level": "warning",
        "number": 1,
        "tokens_remembered": 5,
        "trace_id": trace.trace_id,
    }


def test_levels_below_the_setting_are_silent() -> None:
    with logging_as(log_level="warning") as said:
        structlog.get_logger("test").info("quiet")
        logging.getLogger("library").info("quiet")
    assert said() == ""


def test_a_line_that_cannot_be_written_is_lost_and_never_raised(tmp_path: Path) -> None:
    with logging_as():
        closed = (tmp_path / "log").open("w")
        configure_logging(make_settings(), stream=closed)
        closed.close()
        structlog.get_logger().error("nobody_reads_this")
        with suppress(OSError), Path("/dev/full").open("w", buffering=1) as full:
            configure_logging(make_settings(), stream=full)
            structlog.get_logger().error("the_disk_is_full")
            logging.getLogger().error("still")
