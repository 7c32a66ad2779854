"""The roles of one machine: what is run, with which settings, in which order it is stopped."""

from __future__ import annotations

import sys
from pathlib import Path

from flashorder.infra.supervision import RoleCommand
from flashorder.settings import Settings
from flashorder.standalone.addresses import Addresses
from flashorder.standalone.stores import Stores

WEB = "web"
CONSUMER = "consumer"
WORKER = "worker"
PAYMENT_SIMULATOR = "payment_simulator"
CARRIER_SIMULATOR = "carrier_simulator"
DRAIN_MARGIN_SECONDS = 5.0
AUTOPILOT_COMPLETION_DELAY_SECONDS = 3.0
"""Buyers get two weeks to look at their goods; who looks on waits for no two weeks."""


def simulator_commands(settings: Settings, addresses: Addresses) -> list[RoleCommand]:
    """The simulators that are ours to run; they need no store."""
    environment = _common(settings, addresses)
    commands = []
    for name, which, port in (
        (PAYMENT_SIMULATOR, "payments", addresses.payment_simulator_port),
        (CARRIER_SIMULATOR, "carrier", addresses.carrier_simulator_port),
    ):
        if port is not None:
            commands.append(
                _command(
                    name, ("simulate", which, "--port", str(port), "--json"), environment, 10.0
                )
            )
    return commands


def service_commands(
    settings: Settings,
    addresses: Addresses,
    stores: Stores,
    *,
    workers: int,
    web_file: Path,
    autopilot: bool,
) -> list[RoleCommand]:
    """Web, consumer and worker, in the order in which they are stopped.

    With ``autopilot`` paid orders go all the way to ``completed`` while somebody looks on, unless
    the settings name another delay.
    """
    environment = _common(settings, addresses) | {
        "FLASHORDER_REDIS_URL": stores.local_redis_url,
        "FLASHORDER_DATABASE_URL": stores.database_url,
        "FLASHORDER_WORKERS": str(workers),
        "FLASHORDER_AUTOPILOT": "true" if autopilot else "false",
    }
    if autopilot and "completion_delay_seconds" not in settings.model_fields_set:
        environment["FLASHORDER_COMPLETION_DELAY_SECONDS"] = str(AUTOPILOT_COMPLETION_DELAY_SECONDS)
    drain_seconds = settings.drain_timeout_seconds + DRAIN_MARGIN_SECONDS
    return [
        _command(WEB, ("serve", "--ready-file", str(web_file)), environment, drain_seconds),
        _command(CONSUMER, ("consume",), environment, 15.0),
        _command(WORKER, ("work",), environment, 15.0),
    ]


def _common(settings: Settings, addresses: Addresses) -> dict[str, str]:
    return {
        "FLASHORDER_HOST": addresses.host,
        "FLASHORDER_PORT": str(addresses.port),
        "FLASHORDER_DATA_DIR": str(settings.data_dir.absolute()),
        "FLASHORDER_PAYMENT_SIMULATOR_URL": addresses.payment_simulator_url,
        "FLASHORDER_CARRIER_SIMULATOR_URL": addresses.carrier_simulator_url,
        "FLASHORDER_LOG_FORMAT": "json",
        "PYTHONUNBUFFERED": "1",
    }


def _command(
    name: str, arguments: tuple[str, ...], environment: dict[str, str], stop_timeout_seconds: float
) -> RoleCommand:
    argv = (sys.executable, "-m", "flashorder.cli", *arguments)
    return RoleCommand(name, argv, environment, Path.cwd(), stop_timeout_seconds)
