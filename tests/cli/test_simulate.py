"""``flashorder simulate payments`` as a process."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import aiohttp
import msgspec
from pydantic import SecretStr

from flashorder.infra.embedded.ports import free_port
from flashorder.settings import Settings


async def start(folder: Path, port: int, *options: str) -> asyncio.subprocess.Process:
    """The command, once it has said that it is ready."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "flashorder.cli",
        "simulate",
        "payments",
        "--port",
        str(port),
        *options,
        env={
            **os.environ,
            "FLASHORDER_DATA_DIR": str(folder),
            "FLASHORDER_SECRET": "test",
            "FLASHORDER_SERVICE_URL": "http://127.0.0.1:9",
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def ready_line(process: asyncio.subprocess.Process) -> bytes:
    assert process.stdout is not None
    async with asyncio.timeout(20):
        return await process.stdout.readline()


async def test_it_remembers_after_kill_9_and_ends_on_sigterm(tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    process = await start(tmp_path, port, "--json")
    assert msgspec.json.decode(await ready_line(process)) == {
        "ready": "payment simulator",
        "url": url,
    }
    api_key = Settings(secret=SecretStr("test")).derived_key("api:payments:simulator").hex()
    async with aiohttp.ClientSession() as client:
        async with client.post(
            f"{url}/v1/payments",
            json={"merchant_reference": "m", "amount": 5, "currency": "JPY"},
            headers={"Authorization": f"Bearer {api_key}", "Idempotency-Key": "k"},
        ) as answer:
            action_url = (await answer.json())["action"]["url"]
        async with client.post(f"{action_url}/decision", json={"decision": "approve"}) as answer:
            assert answer.status == 200
        process.kill()
        await process.wait()
        again = await start(tmp_path, port)
        assert (await ready_line(again)).decode() == f"payment simulator ready on {url}\n"
        async with client.get(f"{url}/ledger") as answer:
            totals = (await answer.json())["totals"]
        assert totals["JPY"]["captures"] == {"count": 1, "amount": 5}
        other = await start(tmp_path / "other", port)
        _, complaint = await other.communicate()
        assert other.returncode == 2
        assert f"127.0.0.1:{port}".encode() in complaint
        assert b"Traceback" not in complaint
        again.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            _, complaint = await again.communicate()
        assert again.returncode == 0, complaint
        assert b"Traceback" not in complaint
