"""``flashorder loadtest`` in small: Locust, verify, the report, the exit code."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from loadtest.deployment import a_deployment


@pytest.mark.timeout(120)
async def test_a_small_spike_ends_with_a_report(tmp_path: Path) -> None:
    async with a_deployment() as deployment:
        out = await deployment.run(
            *("loadtest", "--users", "25", "--units", "20", "--shape", "spike"),
            *("--duration", "6s", "--report", str(tmp_path), "--settle-seconds", "20", "--json"),
        )
    told = json.loads(out)
    assert told["verify"]["holds"], told
    assert told["visitors"] == 25
    assert told["failed requests"] == 0
    assert told["purchases accepted"] > 0
    files = await asyncio.to_thread(lambda: {each.name for each in tmp_path.iterdir()})
    assert {"index.html", "locust.html", "picture.png", "samples.jsonl", "verify.json"} <= files
