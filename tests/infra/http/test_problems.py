"""Failures on the wire."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import structlog

from flashorder.infra.http.endpoint import Call, Endpoint, Reply
from flashorder.infra.http.operations import check_all
from flashorder.infra.http.problems import STATUS_OF, failure_answer, status_of
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

    assert (await check_all({"database": good})).checks == {"database": "ok"}
    async with served([], checks={"database": good, "store": away}) as site:
        async with site.client.get("/readyz") as answer:
            problem = await answer.json(content_type=None)
            assert (answer.status, problem["code"]) == (503, "not_ready")
            assert problem["errors"] == [
                {"pointer": "/store", "code": "store_unavailable", "detail": "gone"}
            ]
        async with site.client.get("/healthz") as answer:
            assert answer.status == 200


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
