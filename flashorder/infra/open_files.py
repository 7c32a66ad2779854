"""How many files this process may have open: each connection is one of them.

Beyond the limit nothing can be accepted, and a client waits for an answer that never comes; so the
cap on connections, which refuses with a word, must lie below it.
"""

from __future__ import annotations

from typing import Final

try:
    import resource
except ImportError:  # not there on Windows, which has no such limit
    resource = None  # type: ignore[assignment]

# Beside the clients' connections: stores, logs, libraries.
FILES_BESIDE_CONNECTIONS: Final = 200


def open_files_max() -> tuple[float, float]:
    """The limit in force, and the one that it can be raised to; ``inf`` where there is none."""
    if resource is None:
        return float("inf"), float("inf")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _limit(soft), _limit(hard)


def raise_open_files(connections_max: int) -> None:
    """Raise the limit in force to what ``connections_max`` wants, as far as it goes."""
    soft, hard = open_files_max()
    wanted = min(hard, connections_max + FILES_BESIDE_CONNECTIONS)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (int(wanted), _raw(hard)))


def connections_possible() -> float:
    """How many connections the limit in force leaves room for."""
    soft, _ = open_files_max()
    return max(soft - FILES_BESIDE_CONNECTIONS, soft // 2)


def _limit(value: int) -> float:
    return float("inf") if value == resource.RLIM_INFINITY else value


def _raw(limit: float) -> int:
    return resource.RLIM_INFINITY if limit == float("inf") else int(limit)
