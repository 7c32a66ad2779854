"""What wrk says, read right; what is missing, said clearly."""

from __future__ import annotations

import pytest

from bench.load.wrk import parse_summary, require_wrk
from flashorder.kernel.errors import Misconfigured

OUTPUT = """\
Running 5s test @ http://127.0.0.1:8080
  1 threads and 128 connections
Requests/sec:  20818.00
SUMMARY {"duration_us": 5000000, "requests": 1000, "bytes": 5, "connect": 1, "read": 2, \
"write": 3, "timeout": 4, "status": 100, "p50_us": 1500, "p99_us": 9000, "max_us": 12000}
"""


def test_the_summary_is_read() -> None:
    driven = parse_summary(OUTPUT)
    assert driven.seconds == 5.0
    assert (driven.requests, driven.refused, driven.accepted) == (1000, 100, 900)
    assert driven.broken == 10
    assert (driven.p50_ms, driven.p99_ms, driven.max_ms) == (1.5, 9.0, 12.0)


def test_no_summary_is_an_error_with_what_was_said() -> None:
    with pytest.raises(ValueError, match="unable to connect"):
        parse_summary("unable to connect to 127.0.0.1:1\n")


def test_without_wrk_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(Misconfigured, match="apt install wrk"):
        require_wrk()
