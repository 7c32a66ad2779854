"""The metrics of a worker whose predecessor still has the port."""

from __future__ import annotations

import asyncio
import socket

import aiohttp

from flashorder.infra.telemetry.metrics import Metrics, metrics_server
from flashorder.infra.telemetry.metrics_port import metrics_server_in_turn


async def generation(port: int) -> str:
    """The label of who answers, on a connection of its own; empty: nobody does."""
    url = f"http://127.0.0.1:{port}/metrics"
    try:
        async with aiohttp.ClientSession() as client, client.get(url) as answer:
            text = await answer.text()
    except aiohttp.ClientConnectionError:
        return ""
    return text.partition('generation="')[2].partition('"')[0]


async def test_the_next_one_answers_when_the_last_one_has_ended() -> None:
    old, new = Metrics(generation="old"), Metrics(generation="new")
    async with metrics_server(old, "127.0.0.1", 0) as port:
        successor = metrics_server_in_turn(new, "127.0.0.1", port)
        await successor.__aenter__()
        await asyncio.sleep(0.3)  # more than one try
        assert {await generation(port) for _ in range(10)} == {"old"}
    async with asyncio.timeout(5):
        while await generation(port) != "new":
            await asyncio.sleep(0.01)
    await successor.__aexit__(None, None, None)
    with socket.create_server(("127.0.0.1", port)):
        pass
