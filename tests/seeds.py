"""One seed for whatever is left to chance: the order of the tests, and hypothesis' examples."""

from __future__ import annotations

import random

import pytest
from hypothesis import settings

# A failure tells its example in a line that repeats it, whatever else has changed.
settings.register_profile("suite", print_blob=True)
settings.load_profile("suite")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Before pytest-randomly and hypothesis read their options; given ones stay."""
    option = config.option
    if not isinstance(getattr(option, "randomly_seed", None), int):
        option.randomly_seed = random.SystemRandom().getrandbits(32)
    if option.hypothesis_seed is None:
        option.hypothesis_seed = str(option.randomly_seed)


def pytest_report_header(config: pytest.Config) -> str:
    """The line under pytest-randomly's."""
    return f"hypothesis: --hypothesis-seed={config.option.hypothesis_seed}"
