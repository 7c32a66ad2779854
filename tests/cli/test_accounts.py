"""``accounts create`` and ``tokens issue`` as programs call them."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from flashorder.infra.http.endpoint import Role
from flashorder.infra.http.tokens import Authenticator
from flashorder.settings import Settings


class CommandLine:
    """Runs the command line on a database and a data folder of the test's own."""

    def __init__(self, database_url: str, folder: Path) -> None:
        self.folder = folder
        self._environment = {
            **{name: value for name, value in os.environ.items() if "FLASHORDER" not in name},
            "FLASHORDER_DATABASE_URL": database_url,
            "FLASHORDER_REDIS_URL": "redis://127.0.0.1:1/0",
            "FLASHORDER_DATA_DIR": str(folder),
            "FLASHORDER_SECRET": "test",
        }

    def __call__(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "flashorder.cli", *arguments],
            env={**self._environment, **environment},
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )


@pytest.fixture
def flashorder(database_url: str, tmp_path: Path) -> CommandLine:
    """The command line."""
    return CommandLine(database_url, tmp_path)


ADA = ("accounts", "create", "--email", "ada@example.com", "--password", "correct horse")


def test_an_account_is_made_once(flashorder: CommandLine) -> None:
    made = flashorder(*ADA, "--role", "operator", "--json")
    assert made.returncode == 0, made.stderr
    record = json.loads(made.stdout)
    assert (record["email"], record["role"]) == ("ada@example.com", "operator")
    again = flashorder(*ADA, "--role", "operator")
    assert again.returncode == 2
    assert "exists" in again.stderr
    assert "Traceback" not in again.stderr


@pytest.mark.parametrize(
    ("arguments", "exit_code", "said"),
    [
        ((*ADA, "--role", "king"), 2, "--role"),
        (("accounts", "create", "--email", "ada", "--password", "correct horse"), 2, "/email"),
        (("tokens", "issue", "--count", "0", "--out", "x"), 2, "--count"),
        (("tokens", "issue", "--role", "king", "--out", "-"), 2, "--role"),
    ],
)
def test_wrong_use_is_said_in_a_line(
    flashorder: CommandLine, arguments: tuple[str, ...], exit_code: int, said: str
) -> None:
    run = flashorder(*arguments)
    assert run.returncode == exit_code
    assert said in run.stderr
    assert "Traceback" not in run.stderr


def test_a_database_that_is_away_is_exit_code_3(flashorder: CommandLine) -> None:
    run = flashorder(*ADA, FLASHORDER_DATABASE_URL="postgresql://127.0.0.1:1/none")
    assert run.returncode == 3
    assert "Traceback" not in run.stderr


def test_no_store_to_be_found_is_exit_code_3(flashorder: CommandLine) -> None:
    nowhere = {"FLASHORDER_REDIS_URL": "", "FLASHORDER_DATABASE_URL": ""}
    for arguments in (ADA, ("verify",), ("sale", "list"), ("serve",), ("consume",)):
        run = flashorder(*arguments, **nowhere)
        assert run.returncode == 3, run.stderr
        assert f"no running flashorder up in {flashorder.folder}" in run.stderr
        assert "Traceback" not in run.stderr


def test_a_url_that_is_none_is_exit_code_2(flashorder: CommandLine) -> None:
    for arguments in (ADA, ("serve",), ("doctor",)):
        run = flashorder(*arguments, FLASHORDER_DATABASE_URL="mysql://u:hidden-word@h/x")
        assert run.returncode == 2, run.stderr
        assert "FLASHORDER_DATABASE_URL" in run.stderr
        assert "hidden-word" not in run.stderr + run.stdout
        assert "Traceback" not in run.stderr


def test_tokens_are_written_a_line_each_for_nobody_else_to_read(flashorder: CommandLine) -> None:
    out = flashorder.folder / "tokens.txt"
    run = flashorder("tokens", "issue", "--count", "7000", "--out", str(out), "--json")
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)["tokens"] == 7000
    lines = out.read_text().splitlines()
    assert len(set(lines)) == 7000
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    authenticator = Authenticator.of(Settings(secret="test"))  # type: ignore[arg-type]
    callers = [authenticator.caller(f"Bearer {line}") for line in lines[:10]]
    assert {caller.role for caller in callers} == {Role.SHOPPER}
    assert len({caller.account_id for caller in callers}) == 10


def test_tokens_can_be_piped(flashorder: CommandLine) -> None:
    run = flashorder("tokens", "issue", "--count", "3", "--role", "operator", "--out", "-")
    assert run.returncode == 0, run.stderr
    assert len(run.stdout.split()) == 3


def test_a_role_that_is_none_leaves_the_file_as_it_was(flashorder: CommandLine) -> None:
    out = flashorder.folder / "tokens.txt"
    out.write_text("kept")
    run = flashorder("tokens", "issue", "--role", "typo", "--out", str(out))
    assert run.returncode == 2
    assert out.read_text() == "kept"


def test_tokens_that_cannot_be_made_leave_the_file_as_it_was(flashorder: CommandLine) -> None:
    out = flashorder.folder / "tokens" / "kept.txt"
    out.parent.mkdir()
    out.write_text("kept")
    away = "postgresql://127.0.0.1:1/none"
    run = flashorder("tokens", "issue", "--out", str(out), FLASHORDER_DATABASE_URL=away)
    assert run.returncode == 3
    assert out.read_text() == "kept"
    assert list(out.parent.iterdir()) == [out]


def test_a_file_that_others_could_read_is_closed_to_them(flashorder: CommandLine) -> None:
    out = flashorder.folder / "tokens.txt"
    out.touch(mode=0o644)
    out.chmod(0o644)
    assert flashorder("tokens", "issue", "--out", str(out)).returncode == 0
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert out.read_text()


def test_a_folder_that_is_not_there_is_a_line(flashorder: CommandLine) -> None:
    run = flashorder("tokens", "issue", "--out", "/nonexistent/tokens")
    assert run.returncode == 2
    assert len(run.stderr.splitlines()) == 1
    assert "/nonexistent/" in run.stderr
    assert "No such file" in run.stderr


def test_piped_tokens_are_json_where_it_is_asked_for(flashorder: CommandLine) -> None:
    run = flashorder("tokens", "issue", "--count", "3", "--out", "-", "--json")
    assert run.returncode == 0, run.stderr
    assert len({json.loads(line)["token"] for line in run.stdout.splitlines()}) == 3


@pytest.mark.parametrize(
    ("arguments", "exit_code", "code", "said"),
    [
        ((*ADA, "--role", "king"), 2, "invalid_input", "--role"),
        (("accounts", "create"), 2, "wrong_use", "--email"),
        (("tokens", "issue", "--out", "/nonexistent/tokens"), 2, "os_error", "/nonexistent/"),
        (("verify", "--settle-seconds", "0"), 3, "store_unavailable", "store"),
    ],
)
def test_programs_are_told_in_json_what_went_wrong(
    flashorder: CommandLine, arguments: tuple[str, ...], exit_code: int, code: str, said: str
) -> None:
    run = flashorder(*arguments, "--json")
    assert run.returncode == exit_code
    error = json.loads(run.stderr.splitlines()[-1])["error"]
    assert error["code"] == code
    assert said in error["detail"]
    assert run.stdout == ""
