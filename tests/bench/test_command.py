"""``flashorder bench`` as it is typed."""

from __future__ import annotations

import importlib

import pytest
from typer.testing import CliRunner

from bench.run import SCENARIOS
from flashorder.cli import build
from flashorder.kernel.errors import Misconfigured


def test_it_lists_its_scenarios() -> None:
    answer = CliRunner().invoke(build(), ["bench", "list"])
    assert answer.exit_code == 0
    assert [line.split()[0] for line in answer.stdout.splitlines()] == list(SCENARIOS)


def test_a_scenario_that_is_none_is_named() -> None:
    answer = CliRunner().invoke(build(), ["bench", "purchases"])
    assert isinstance(answer.exception, Misconfigured)
    assert "purchases" in answer.exception.detail


@pytest.mark.parametrize("name", SCENARIOS)
def test_each_scenario_says_how_it_measures(name: str) -> None:
    module = importlib.import_module(f"bench.scenarios.{name.replace('-', '_')}")
    assert len(module.__doc__.split()) > 40
    assert callable(module.measure)
