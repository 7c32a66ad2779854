"""With which settings the roles of one machine are run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flashorder.infra.embedded import DataFolder
from flashorder.infra.supervision import Console
from flashorder.settings import Settings
from flashorder.standalone.addresses import choose_addresses
from flashorder.standalone.roles import WORKER, service_commands
from flashorder.standalone.stores import Stores

DELAY = "FLASHORDER_COMPLETION_DELAY_SECONDS"


def worker_environment(folder: Path, *, autopilot: bool, **changes: Any) -> dict[str, str]:
    settings = Settings(
        port=0, data_dir=folder, redis_url="redis://r", database_url="postgresql://d", **changes
    )
    commands = service_commands(
        settings,
        choose_addresses(settings),
        Stores(settings, DataFolder(folder), Console("warning")),
        workers=1,
        web_file=folder / "web.json",
        autopilot=autopilot,
    )
    (worker,) = [each for each in commands if each.name == WORKER]
    return dict(worker.environment)


@pytest.mark.parametrize(
    ("autopilot", "changes", "shortened"),
    [
        (True, {}, True),
        (True, {"completion_delay_seconds": 60}, False),
        (False, {}, False),
    ],
    ids=["demonstration", "delay of one's own", "by hand"],
)
def test_a_demonstration_completes_while_one_looks_on(
    tmp_path: Path, autopilot: bool, changes: dict[str, Any], shortened: bool
) -> None:
    environment = worker_environment(tmp_path, autopilot=autopilot, **changes)
    assert environment["FLASHORDER_AUTOPILOT"] == str(autopilot).lower()
    assert (DELAY in environment) == shortened
    if shortened:
        assert 0 < float(environment[DELAY]) < 30
