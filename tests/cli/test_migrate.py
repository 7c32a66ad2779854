"""``flashorder migrate`` as a command."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from flashorder.cli import build
from flashorder.infra.postgres.migrations import shipped_migrations


def test_it_applies_what_is_missing_once(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLASHORDER_DATABASE_URL", empty_database_url)
    monkeypatch.setenv("FLASHORDER_REDIS_URL", "redis://127.0.0.1:1")
    run = CliRunner().invoke
    first = run(build(), ["migrate", "--json"])
    assert first.exit_code == 0, first.output
    assert len(json.loads(first.stdout)["applied"]) == len(shipped_migrations())
    again = run(build(), ["migrate"])
    assert again.stdout == "the database is up to date\n"
