"""Find the stores of a running ``flashorder up``, so that other commands need no settings."""

from __future__ import annotations

import os

from flashorder.kernel.errors import Misconfigured
from flashorder.settings import Settings, load_settings
from flashorder.standalone.ready import running_state


def command_settings() -> Settings:
    """The settings of a command, on the stores of a running ``flashorder up`` where none are named.

    Its log goes to standard error from here on.
    """
    from flashorder.infra.telemetry.logging import configure_logging  # noqa: PLC0415 - heavy

    _adopt_running_stores()
    settings = load_settings()
    configure_logging(settings)
    return settings


def role_settings(*, as_json: bool) -> Settings:
    """``command_settings`` of a role that runs on; ``as_json``: its log is for programs too.

    The environment is told, so that the processes that the role starts do the same.
    """
    if as_json:
        os.environ["FLASHORDER_LOG_FORMAT"] = "json"
    return command_settings()


def _adopt_running_stores() -> None:
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
