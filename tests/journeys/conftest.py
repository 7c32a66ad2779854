"""A running system for each journey."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.journeys.system import System, running_system


@pytest_asyncio.fixture
async def system(redis_url: str, database_url: str, tmp_path: Path) -> AsyncIterator[System]:
    """Every role, with parcels that travel fast."""
    async with running_system(
        redis_url,
        database_url,
        tmp_path,
        completion_delay_seconds=0,
        login_attempts_burst=1000,
        buyer_requests_per_second=1000,
        buyer_requests_burst=1000,
    ) as system:
        yield system
