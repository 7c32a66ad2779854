"""SQL lives in files: one commented statement a file, in the ``sql/`` folder of its room."""

from __future__ import annotations

from functools import cache
from importlib import resources


@cache
def load_sql(package: str) -> dict[str, str]:
    """The statements of ``<package>/sql/*.sql`` by file name without ending."""
    folder = resources.files(package) / "sql"
    return {
        entry.name.removesuffix(".sql"): entry.read_text(encoding="utf-8")
        for entry in folder.iterdir()
        if entry.name.endswith(".sql")
    }
