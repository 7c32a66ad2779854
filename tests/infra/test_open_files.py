"""The limit of open files, as this process has it."""

from __future__ import annotations

import resource
from collections.abc import Iterator

import pytest

from flashorder.infra.open_files import connections_possible, open_files_max, raise_open_files

LOW = 256


@pytest.fixture
def low_limit() -> Iterator[float]:
    """A limit below the one that it can be raised to, which it yields."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (LOW, hard))
    yield open_files_max()[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_low_limit_is_raised_to_what_is_wanted(low_limit: float) -> None:
    assert connections_possible() == LOW / 2
    raise_open_files(100)
    assert open_files_max() == (300, low_limit)
    assert connections_possible() == 150
    raise_open_files(10)
    assert open_files_max()[0] == 300


def test_it_is_raised_no_further_than_it_goes(low_limit: float) -> None:
    if low_limit == float("inf"):
        pytest.skip("there is no limit here")
    raise_open_files(10**9)
    assert open_files_max() == (low_limit, low_limit)
