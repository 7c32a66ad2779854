"""What `make audit` says of pip-audit's reports; the form is that of pip-audit 2.10."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from deploy.audit import AUDITED, DONE, FOUND, LOCKS, NOT_ASKED, judge
from tests.deploy.files import ROOT

CLEAN = {"name": "aiohttp", "version": "3.14.5", "vulns": []}
SKIPPED = {
    "name": "yarl",
    "skip_reason": "Dependency not found on PyPI and could not be audited: yarl (1.25.1)",
}
BAD = {
    "name": "pyjwt",
    "version": "2.3.0",
    "vulns": [
        {
            "id": "PYSEC-2022-202",
            "fix_versions": ["2.4.0"],
            "aliases": ["CVE-2022-29217", "GHSA-ffqj-6fqr-9h24"],
            "description": "algorithm confusion",
        }
    ],
}


@pytest.mark.parametrize(
    ("packages", "code", "said"),
    [
        ([CLEAN], DONE, "nothing is known against 1 packages"),
        ([CLEAN, BAD], FOUND, "pyjwt 2.3.0 has PYSEC-2022-202 (CVE-2022-29217"),
        ([SKIPPED, BAD], FOUND, "fixed in 2.4.0"),
        ([SKIPPED], NOT_ASKED, "NOT AUDITED: the registry knows nothing about 1 of 1"),
        ([CLEAN, SKIPPED], NOT_ASKED, "1 of 2"),
    ],
)
def test_what_was_not_asked_is_no_success(
    packages: list[dict[str, Any]], code: int, said: str
) -> None:
    judged, lines = judge("run.lock", {"dependencies": packages, "fixes": []})
    assert judged == code
    assert said in lines[0]


def test_every_lock_that_is_installed_is_audited() -> None:
    others = {"run.lock", "loadtest.lock", "audit.lock"}  # in dev.lock; and its own
    assert {path.name for path in LOCKS.glob("*.lock")} - others == set(AUDITED)


def test_without_the_tool_it_says_that_nothing_was_audited() -> None:
    ran = subprocess.run(
        [sys.executable, ROOT / "deploy" / "audit.py"], capture_output=True, text=True, check=False
    )
    assert ran.returncode == NOT_ASKED
    assert ran.stderr.count("could not be asked") == len(AUDITED)
