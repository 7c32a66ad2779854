"""Failures on the wire."""

from __future__ import annotations

import ast
import asyncio
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog

import flashorder
from flashorder.infra.http.endpoint import Call, Endpoint, Reply
from flashorder.infra.http.operations import Readiness
from flashorder.infra.http.problems import (
    STATUS_OF,
    Problem,
    RefusalLog,
    failure_answer,
    problem_answer,
    status_of,
)
from flashorder.kernel import errors
from flashorder.kernel.errors import FieldError, FlashorderError
from tests.infra.http.serving import make_settings, served

TRACE = "0af7651916cd43dd8448eb211c80319c"


def every_failure() -> list[type[FlashorderError]]:
    return [
        each
        for _, each in inspect.getmembers(errors, inspect.isclass)
        if issubclass(each, FlashorderError)
    ]


def raising(failure: Exception) -> Endpoint:
    async def handler(call: Call) -> Reply:
        raise failure

    return Endpoint("GET", "/fail", handler, "s", "t", replies={200: None})


async def problem_of(failure: Exception, **headers: str) -> tuple[Any, Any]:
    async with (
        served([raising(failure)]) as site,
        site.client.get("/fail", headers=headers) as answer,
    ):
        assert answer.headers["Content-Type"] == "application/problem+json"
        return await answer.json(content_type=None), answer.headers


@pytest.mark.parametrize("failure", every_failure(), ids=lambda each: each.__name__)
def test_every_failure_has_a_status(failure: type[FlashorderError]) -> None:
    assert 400 <= status_of(failure) <= 503
    if failure is not FlashorderError and not issubclass(failure, errors.Misconfigured):
        assert status_of(failure) != 500


def test_the_most_specific_class_decides() -> None:
    assert status_of(errors.StoreUnavailable) == STATUS_OF[errors.Unavailable] == 503
    assert status_of(errors.InvalidState) == 409


async def test_a_problem_says_what_where_and_which_trace() -> None:
    failure = errors.InvalidInput(
        "no", code="wrong_address", fields=(FieldError("/city", "x", "y"),)
    )
    problem, _ = await problem_of(failure, traceparent=f"00-{TRACE}-b7ad6b7169203331-01")
    assert problem == {
        "type": "https://flashorder.dev/problems/wrong_address",
        "code": "wrong_address",
        "title": "Wrong address",
        "status": 422,
        "detail": "no",
        "instance": "/fail",
        "trace_id": TRACE,
        "errors": [{"pointer": "/city", "code": "x", "detail": "y"}],
    }


@pytest.mark.parametrize("traceparent", ["", "x", f"00-{'0' * 32}-b7ad6b7169203331-01"])
async def test_without_a_good_traceparent_the_trace_is_fresh(traceparent: str) -> None:
    problem, _ = await problem_of(errors.Gone(), traceparent=traceparent)
    assert len(problem["trace_id"]) == 32
    assert problem["trace_id"] != "0" * 32


@pytest.mark.parametrize(
    ("failure", "seconds"),
    [
        (errors.TooEarly(), "1"),
        (errors.TooEarly(retry_after_seconds=30.2), "31"),
        (errors.RateLimited(retry_after_seconds=0.1), "1"),
        (errors.StoreUnavailable(), "2"),
        (errors.Overloaded(retry_after_seconds=5), "5"),
        (errors.NotFound(), None),
    ],
)
async def test_who_may_come_again_is_told_when(
    failure: FlashorderError, seconds: str | None
) -> None:
    _, headers = await problem_of(failure)
    assert headers.get("Retry-After") == seconds


async def test_what_nobody_foresaw_is_logged_with_its_trace_and_shows_no_innards() -> None:
    with structlog.testing.capture_logs() as logs:
        problem, _ = await problem_of(ZeroDivisionError("the innards"))
    assert problem["status"] == 500
    assert "innards" not in str(problem)
    assert [(each["event"], each["trace_id"]) for each in logs] == [
        ("request_failed", problem["trace_id"])
    ]


async def test_a_misconfiguration_is_not_told_to_strangers() -> None:
    problem, _ = await problem_of(errors.Misconfigured("postgresql://ada:secret@db/"))
    assert "secret" not in str(problem)


async def test_a_reply_cannot_break_out_of_a_header_line() -> None:
    async def handler(call: Call) -> Reply:
        return Reply(200, None, {"Location": "/x\r\nSet-Cookie: a=b"})

    endpoint = Endpoint("GET", "/x", handler, "s", "t", replies={200: None})
    async with served([endpoint]) as site, site.client.get("/x") as answer:
        assert answer.status == 500
        assert "Set-Cookie" not in answer.headers


async def test_unknown_paths_and_methods_are_problems() -> None:
    async with served([raising(errors.Gone())]) as site:
        for method, path, status, code in (
            ("GET", "/nothing", 404, "not_found"),
            ("GET", "/fail/", 404, "not_found"),
            ("POST", "/fail", 405, "method_not_allowed"),
            ("PATCH", "/fail", 405, "method_not_allowed"),
        ):
            async with site.client.request(method, path) as answer:
                problem = await answer.json(content_type=None)
                assert (answer.status, problem["code"]) == (status, code)
                assert (answer.headers.get("Allow") == "GET, HEAD") == (status == 405)


async def test_readiness_names_each_part_that_is_away() -> None:
    async def good() -> None:
        return

    async def away() -> None:
        raise errors.StoreUnavailable("gone")

    assert (await Readiness({"database": good}).read()).checks == {"database": "ok"}
    async with served([], checks={"database": good, "store": away}) as site:
        async with site.client.get("/readyz") as answer:
            problem = await answer.json(content_type=None)
            assert (answer.status, problem["code"]) == (503, "not_ready")
            assert problem["errors"] == [
                {"pointer": "/store", "code": "store_unavailable", "detail": "gone"}
            ]
        async with site.client.get("/healthz") as answer:
            assert answer.status == 200


async def test_however_many_ask_the_parts_are_asked_once_a_second() -> None:
    now, asked, away = 0.0, 0, False

    async def part() -> None:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0)
        if away:
            raise errors.StoreUnavailable

    readiness = Readiness({"store": part}, clock=lambda: now)
    await asyncio.gather(*(readiness.read() for _ in range(50)))
    now, away = 0.9, True
    await readiness.read()
    assert asked == 1
    now = 1.0
    refusals = await asyncio.gather(*(readiness.read() for _ in range(50)), return_exceptions=True)
    assert asked == 2
    assert {getattr(each, "code", None) for each in refusals} == {"not_ready"}
    now, away = 2.0, False
    assert (await readiness.read()).status == "ready"


async def test_whoever_leaves_while_the_parts_are_asked_leaves_the_asking_to_the_next() -> None:
    entered, opened = asyncio.Event(), asyncio.Event()

    async def part() -> None:
        entered.set()
        await opened.wait()

    readiness = Readiness({"store": part})
    first, second = (asyncio.create_task(readiness.read()) for _ in range(2))
    await entered.wait()
    first.cancel()
    opened.set()
    assert (await second).status == "ready"


async def test_metrics_count_by_template_never_by_path() -> None:
    async def handler(call: Call) -> Reply:
        return Reply(200)

    endpoint = Endpoint("GET", "/things/{thing_id}", handler, "s", "t", replies={200: None})
    async with served([endpoint]) as site:
        for path in ("/things/secret-1", "/things/secret-2", "/nothing/secret-3"):
            async with site.client.get(path):
                pass
        async with site.client.get("/metrics") as answer:
            text = await answer.text()
    assert "secret" not in text
    assert {
        'flashorder_http_requests_total{method="GET",route="/things/{thing_id}",status="200"} 2.0',
        'flashorder_http_requests_total{method="*",route="unmatched",status="404"} 1.0',
        "flashorder_http_request_duration_seconds_count"
        '{method="GET",route="/things/{thing_id}"} 2.0',
    } <= set(text.splitlines())


async def test_one_worker_of_several_says_which_it_is() -> None:
    async with (
        served([], settings=make_settings(worker_index=1)) as site,
        site.client.get("/metrics") as answer,
    ):
        assert 'worker="1"' in await answer.text()


def test_a_failure_of_the_mechanism_itself_is_an_answer() -> None:
    assert failure_answer(RuntimeError()).status == 500


async def test_an_outage_is_one_line_a_second_and_counted_whole() -> None:
    now = 0.0
    log = RefusalLog(clock=lambda: now)
    with structlog.testing.capture_logs() as lines:
        for step in range(200):
            now = step / 100
            log.tell(errors.StoreUnavailable())
            log.tell(errors.Overloaded())
        now = 2.0
        log.tell(errors.StoreUnavailable())
    assert [(line["code"], line["count"]) for line in lines] == [
        ("store_unavailable", 1), ("overloaded", 1),
        ("store_unavailable", 100), ("overloaded", 100),
        ("store_unavailable", 100),
    ]  # fmt: skip


async def test_every_refusal_is_in_the_metrics_though_not_in_the_log() -> None:
    async with served([raising(errors.StoreUnavailable())]) as site:
        with structlog.testing.capture_logs() as lines:
            for _ in range(5):
                async with site.client.get("/fail") as answer:
                    assert answer.status == 503
        assert len(lines) <= 1
        async with site.client.get("/metrics") as answer:
            text = await answer.text()
    assert 'flashorder_http_failures_total{code="store_unavailable"} 5.0' in text.splitlines()


@pytest.mark.parametrize(
    ("code", "tells"),
    [("unauthenticated", False), ("credentials_invalid", False), ("signature_invalid", False),
     ("token_invalid", True), ("token_expired", True)],
)  # fmt: skip
async def test_only_a_token_can_be_an_invalid_token(code: str, tells: bool) -> None:
    _, headers = await problem_of(errors.Unauthenticated(code=code))
    assert headers["WWW-Authenticate"].startswith('Bearer realm="flashorder"')
    assert ("invalid_token" in headers["WWW-Authenticate"]) is tells


# What stands in a detail only by mistake: code, and names of code. Fields of the contract have an
# underscore as well, so that alone tells of nothing but a docstring.
_CODE = re.compile(r"`|\b[a-z]+[A-Z]\w*|\b(?!PostgreSQL)[A-Z][a-z]+[A-Z]\w*|\w\(\)|::|\bself\b")
_NAME = re.compile(r"\b\w+_\w+\b")
# Told on a terminal and never over HTTP, where it is a plain 500.
_FOR_OPERATORS = (errors.Misconfigured,)


def failures_of_all_rooms() -> list[type[FlashorderError]]:
    for module in pkgutil.walk_packages(flashorder.__path__, "flashorder."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    found, left = [], [FlashorderError]
    while left:
        found.append(left.pop())
        left += found[-1].__subclasses__()
    return [
        each
        for each in found
        if not issubclass(each, _FOR_OPERATORS) and ".embedded" not in each.__module__
    ]


def details_in_the_code() -> Iterator[tuple[str, str]]:
    """Where, and what a failure is raised with: the texts that stand in the code."""
    names = {each.__name__ for each in failures_of_all_rooms()}
    for path in sorted(Path(flashorder.__path__[0]).rglob("*.py")):
        if "cli" in path.parts or "embedded" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in names and node.args:
                parts = getattr(node.args[0], "values", node.args[:1])
                texts = [part.value for part in parts if isinstance(part, ast.Constant)]
                yield f"{path.name}:{node.lineno}", "…".join(map(str, texts))


def test_no_detail_shows_what_only_we_call_so() -> None:
    docstrings = [
        (each.__qualname__, (each.__doc__ or "").strip().splitlines()[0])
        for each in failures_of_all_rooms()
    ]
    details = [*docstrings, *details_in_the_code()]
    assert len(details) > 50
    assert [each for each in details if _CODE.search(each[1])] == []
    assert [each for each in docstrings if _NAME.search(each[1])] == []


@pytest.mark.parametrize("fields", [(), (FieldError("/a", "b", 'a "quoted" one'),)])
def test_a_problem_put_together_is_what_an_encoder_would_write(
    fields: tuple[FieldError, ...],
) -> None:
    answer = problem_answer(422, "no_good", "it\\s \u00fc", instance='/v1/"x"', fields=fields)
    problem = msgspec.json.decode(answer.content, type=Problem)
    assert answer.content == msgspec.json.encode(problem)
    assert (problem.instance, problem.errors) == ('/v1/"x"', list(fields))
    assert len(problem.trace_id) == 32
