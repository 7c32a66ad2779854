"""Find the stores of a running ``flashorder up``, so that other commands need no settings."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from flashorder.kernel.errors import Misconfigured
from flashorder.settings import Settings, load_settings

READY_FILE = "up.json"


class ReadyState(msgspec.Struct, kw_only=True):
    """What ``flashorder up`` tells once ``/readyz`` holds; a line of JSON in the ready file."""

    url: str
    redis_url: str
    database_url: str
    simulator_url: str
    carrier_url: str
    pids: dict[str, int | list[int] | None]


def adopt_running_stores() -> None:
    """Name the stores of a running ``flashorder up`` in the environment where it names none.

    Cheap when there is none, and never an error: the command then says itself what it lacks.
    """
    try:
        settings = load_settings()
    except Misconfigured:
        return
    if settings.redis_url is not None and settings.database_url is not None:
        return
    state = running_state(settings)
    if state is not None:
        os.environ.setdefault("FLASHORDER_REDIS_URL", state.redis_url)
        os.environ.setdefault("FLASHORDER_DATABASE_URL", state.database_url)
        os.environ.setdefault("FLASHORDER_PAYMENT_SIMULATOR_URL", state.simulator_url)
        os.environ.setdefault("FLASHORDER_CARRIER_SIMULATOR_URL", state.carrier_url)


def running_state(settings: Settings) -> ReadyState | None:
    """What the ``flashorder up`` on this data folder told when it was ready, or None."""
    # Reading a file takes microseconds; the launcher's import is paid only where there is one.
    path = settings.data_dir / READY_FILE
    state = read_ready_file(path)
    if state is None:
        return None
    from flashorder.infra.embedded import running_endpoints  # noqa: PLC0415

    return state if running_endpoints(settings.data_dir) is not None else None


def read_ready_file(path: Path) -> ReadyState | None:
    """The ready file at ``path``, or None where there is none (yet)."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=ReadyState)
    except (OSError, msgspec.MsgspecError):
        return None
