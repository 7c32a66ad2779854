"""Whatever is left to chance comes of a seed that is told, and comes again with it."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOME_TESTS = """
from hypothesis import given, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

class Machine(RuleBasedStateMachine):
    @rule(number=st.integers())
    def say(self, number):
        print("SAID", number)

def test_a_machine():
    run_state_machine_as_test(Machine, settings=settings(max_examples=5, database=None))

@settings(max_examples=5, database=None)
@given(st.text())
def test_a_function(text):
    print("SAID", ascii(text))

@settings(max_examples=50, database=None)
@given(st.integers())
def test_a_failure(number):
    assert number < 1000
"""


async def suite(folder: Path, *arguments: str) -> str:
    """What a run of a few tests prints."""
    (folder / "test_some.py").write_text(SOME_TESTS)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pytest", "-s", "-c", "pyproject.toml", "-p", "no:cacheprovider",
        "-p", "tests.seeds", *arguments, str(folder / "test_some.py"),
        cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    printed, _ = await process.communicate()
    return printed.decode()


def said(printed: str) -> list[str]:
    return re.findall(r"SAID (.*)", printed)


async def test_a_run_is_repeated_by_the_seed_that_it_tells(tmp_path: Path) -> None:
    first = await suite(tmp_path)
    seed = re.search(r"^hypothesis: --hypothesis-seed=(\d+)$", first, re.M)
    assert seed, first
    assert f"Using --randomly-seed={seed[1]}" in first
    again = await suite(tmp_path, f"--randomly-seed={seed[1]}")
    assert said(again) == said(first) != []
    another = await suite(tmp_path, f"--randomly-seed={int(seed[1]) ^ 1}")
    assert said(another) != said(first)


async def test_a_failure_tells_how_to_have_it_again(tmp_path: Path) -> None:
    printed = await suite(tmp_path, "--hypothesis-seed=7", "-k", "failure")
    assert "hypothesis: --hypothesis-seed=7" in printed
    assert "@reproduce_failure(" in printed
