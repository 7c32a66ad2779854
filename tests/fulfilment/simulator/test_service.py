"""The simulated carrier as a service: books that last, knobs that work."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from flashorder.fulfilment.carriers.simulator import SimulatedCarrier
from flashorder.fulfilment.model import PROGRESS
from flashorder.settings import Settings
from tests.fulfilment.conformance import consignment
from tests.fulfilment.conftest import SimulatorClient, eventually, listening

DELIVERED = [str(status) for status in PROGRESS]


class Door:
    """Where webhooks come to; it can be told to refuse."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.ids: list[str] = []
        self.refusals_left = 0
        self.app = web.Application()
        self.app.router.add_post("/v1/webhooks/carriers/simulator", self._receive)

    async def _receive(self, request: web.Request) -> web.Response:
        if self.refusals_left:
            self.refusals_left -= 1
            return web.Response(status=503)
        self.heard.append((await request.json())["data"]["status"])
        self.ids.append(request.headers["webhook-id"])
        return web.Response()

    async def heard_at_least(self, count: int) -> list[str]:
        async def enough() -> bool:
            return len(self.heard) >= count

        await eventually(enough)
        return self.heard


async def shipped(settings: Settings) -> None:
    carrier = SimulatedCarrier.of(settings)
    await carrier.create_label(consignment())
    await carrier.close()


async def settled(simulator: SimulatorClient) -> dict[str, Any]:
    async def quiet() -> dict[str, Any] | None:
        totals = (await simulator.ledger())["totals"]
        return totals if totals["delivered"] and not totals["webhooks_waiting"] else None

    totals: dict[str, Any] = await eventually(quiet)
    return totals


async def test_a_parcel_walks_to_the_door_on_its_own(
    settings: Settings, simulator: SimulatorClient
) -> None:
    door = Door()
    async with listening(door.app, settings.port):
        await simulator.control(pace_ms=20)
        await shipped(settings)
        assert await door.heard_at_least(5) == DELIVERED
    (label,) = (await simulator.ledger())["labels"]
    assert [event["status"] for event in label["events"]] == DELIVERED


async def test_duplicates_carry_the_same_id(settings: Settings, simulator: SimulatorClient) -> None:
    door = Door()
    async with listening(door.app, settings.port):
        await simulator.control(pace_ms=5, duplicate_webhooks=True)
        await shipped(settings)
        await door.heard_at_least(10)
        await settled(simulator)
    assert sorted(Counter(door.ids).values()) == [2] * 5


async def test_dropped_webhooks_never_come(settings: Settings, simulator: SimulatorClient) -> None:
    door = Door()
    async with listening(door.app, settings.port):
        await simulator.control(pace_ms=5, drop_webhook_rate=1)
        await shipped(settings)
        totals = await settled(simulator)
    assert (totals["webhooks_dropped"], door.heard) == (5, [])


async def test_reordered_webhooks_come_out_of_turn(
    settings: Settings, simulator: SimulatorClient
) -> None:
    door = Door()
    async with listening(door.app, settings.port):
        await simulator.control(pace_ms=20, reorder_webhooks=True)
        await shipped(settings)
        heard = await door.heard_at_least(5)
    assert heard != DELIVERED
    assert sorted(heard) == sorted(DELIVERED)


async def test_a_webhook_that_is_not_taken_is_sent_again(
    settings: Settings, simulator: SimulatorClient
) -> None:
    door = Door()
    door.refusals_left = 2
    async with listening(door.app, settings.port):
        await shipped(settings)
        assert await door.heard_at_least(1) == ["label_created"]
    assert door.refusals_left == 0


async def test_trouble_is_told_once_a_parcel(
    settings: Settings, simulator: SimulatorClient
) -> None:
    await simulator.control(pace_ms=5, exception_rate=1, drop_webhook_rate=1)
    await shipped(settings)
    await settled(simulator)
    (label,) = (await simulator.ledger())["labels"]
    assert [event["status"] for event in label["events"]] == [
        *DELIVERED[:3],
        "exception",
        *DELIVERED[3:],
    ]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ('{"pace_ms": -1}', 422),
        ('{"drop_webhook_rate": 1.5}', 422),
        ('{"duplicate_webhooks": "yes"}', 422),
        ('{"pace": 1}', 422),
        ("[]", 422),
        ('{"pace_ms": ', 400),
        ("x" * 70_000, 413),
    ],
)
async def test_the_control_is_checked(simulator: SimulatorClient, body: str, status: int) -> None:
    async with aiohttp.ClientSession() as session:
        async with session.put(f"{simulator.url}/control", data=body) as answer:
            assert answer.status == status
        async with session.get(f"{simulator.url}/control") as answer:
            assert (await answer.json())["pace_ms"] == 3_600_000


async def test_the_ledger_is_paged(settings: Settings, simulator: SimulatorClient) -> None:
    for _ in range(3):
        await shipped(settings)
    seen: list[str] = []
    cursor = ""
    async with aiohttp.ClientSession() as session:
        while cursor is not None:
            query = {"limit": "2", "cursor": cursor}
            async with session.get(f"{simulator.url}/ledger", params=query) as answer:
                page = await answer.json()
            seen += [label["label_id"] for label in page["labels"]]
            cursor = page["next_cursor"]
        for wrong in ("0", "x", "10001", "-1"):
            async with session.get(f"{simulator.url}/ledger", params={"limit": wrong}) as answer:
                assert answer.status == 422
    assert seen == sorted(set(seen))
    assert len(seen) == 3


async def test_the_books_outlive_kill_9(settings: Settings, tmp_path: Path) -> None:
    asked = consignment()
    carrier = SimulatedCarrier.of(settings)
    client = SimulatorClient(settings.carrier_simulator_url)
    first = await started(settings)
    label = await carrier.create_label(asked)
    os.kill(first.pid, signal.SIGKILL)
    await first.wait()
    second = await started(settings)
    try:
        assert await carrier.create_label(asked) == label
        assert (await client.ledger())["totals"]["labels"] == 1
    finally:
        second.terminate()
        assert await second.wait() == 0
        await carrier.close()


async def started(settings: Settings) -> asyncio.subprocess.Process:
    """The simulator in a process of its own, by its command."""
    assert settings.secret is not None
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "flashorder.cli", "simulate", "carrier", "--json"),
        env={
            "PATH": os.environ["PATH"],
            "FLASHORDER_SECRET": settings.secret.get_secret_value(),
            "FLASHORDER_DATA_DIR": str(settings.data_dir),
            "FLASHORDER_PORT": str(settings.port),
            "FLASHORDER_CARRIER_SIMULATOR_URL": settings.carrier_simulator_url,
        },
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    async with asyncio.timeout(20):
        line = await process.stdout.readline()
    assert b'"ready"' in line
    return process
