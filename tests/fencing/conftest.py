"""A running sale of two shards, its store and what fences it."""

from tests.rebuilding.conftest import market  # noqa: F401
from tests.sales.conftest import house  # noqa: F401
