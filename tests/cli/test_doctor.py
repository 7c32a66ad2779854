"""``flashorder doctor``: findings, mends, exit codes, and no secret in what it prints."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flashorder.cli import build
from flashorder.cli.doctor import _whole_ms, masked
from flashorder.infra.machine import check_clock
from flashorder.settings import Settings

runner = CliRunner()


@pytest.fixture
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLASHORDER_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("FLASHORDER_CONNECTIONS_MAX", "100")


@pytest.mark.usefixtures("_here")
def test_without_stores_it_says_what_up_would_start() -> None:
    result = runner.invoke(build(), ["doctor", "--json"])
    told = json.loads(result.stdout)
    store = next(each for each in told["findings"] if each["subject"] == "store")
    assert "`flashorder up` will start" in store["detail"]
    assert result.exit_code == 0


@pytest.mark.usefixtures("_here")
def test_stores_that_are_away_are_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLASHORDER_REDIS_URL", "redis://:hidden-word@127.0.0.1:1/0")
    monkeypatch.setenv("FLASHORDER_DATABASE_URL", "postgresql://u:hidden-word@127.0.0.1:1/none")
    result = runner.invoke(build(), ["doctor"])
    assert result.exit_code == 1
    assert result.stdout.count("error ") >= 2
    assert "correct FLASHORDER_REDIS_URL" in result.stdout
    assert "hidden-word" not in result.stdout


@pytest.mark.usefixtures("_here")
def test_a_url_with_an_option_that_is_none_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLASHORDER_REDIS_URL", "redis://:hidden-word@127.0.0.1:1/0?db=many")
    result = runner.invoke(build(), ["doctor", "--json"])
    assert result.exit_code == 1
    errors = [each for each in json.loads(result.stdout)["findings"] if each["level"] == "error"]
    assert [each["subject"] for each in errors] == ["store"]
    assert "hidden-word" not in result.stdout


@pytest.mark.usefixtures("_here")
def test_what_is_not_set_is_said_in_words() -> None:
    shown = runner.invoke(build(), ["doctor"]).stdout
    assert re.search(r"REDIS_URL +not set", shown)
    assert "None" not in shown


@pytest.mark.parametrize(
    ("seconds", "shown"), [(-0.0004, "+0 ms"), (0.0004, "+0 ms"), (-0.0016, "-2 ms")]
)
def test_a_clock_that_agrees_is_not_minus_nothing(seconds: float, shown: str) -> None:
    assert check_clock("store", _whole_ms(seconds)).detail.startswith(shown)


def test_secrets_are_masked_and_urls_stay_readable() -> None:
    shown = masked(
        Settings(
            secret="word",
            redis_url="rediss://user:word@store.example:6380/2",
            database_url="postgresql://app:word@db.example/shop?sslmode=require&password=word",
        )
    )
    assert "word" not in str([shown["secret"], shown["redis_url"], shown["database_url"]])
    assert shown["redis_url"].endswith("@store.example:6380/2")
    assert "db.example/shop" in shown["database_url"]
