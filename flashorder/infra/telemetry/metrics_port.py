"""The metrics of one web worker on a port that its predecessor may still hold.

Never both at once: a scraper that reached the old and the new one in turn would take each step back
for a restart, and count everything twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import structlog

from flashorder.infra.telemetry.metrics import Metrics, metrics_server

log = structlog.get_logger(__name__)

TRY_AGAIN_SECONDS: Final = 0.1


@asynccontextmanager
async def metrics_server_in_turn(metrics: Metrics, host: str, port: int) -> AsyncIterator[None]:
    """``metrics_server``, from the moment on at which ``port`` is free."""
    task = asyncio.create_task(_serve_when_free(metrics, host, port), name="metrics port")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


async def _serve_when_free(metrics: Metrics, host: str, port: int) -> None:
    told = False
    while True:
        try:
            async with metrics_server(metrics, host, port):
                log.debug("metrics_port_taken", port=port)
                await asyncio.Event().wait()
        except OSError as error:
            if not told:
                told = True
                log.info("metrics_port_awaited", port=port, error=error.strerror)
            await asyncio.sleep(TRY_AGAIN_SECONDS)
