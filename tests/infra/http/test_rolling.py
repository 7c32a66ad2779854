"""No request fails while workers are replaced under load: every answer counts, and is counted."""

from __future__ import annotations

import os
import signal
from collections import Counter
from typing import Any

import pytest

from tests.infra.http.worker_group import COUNT, Load, group, under

ROUNDS = COUNT
"""Each worker is told to stop once."""
ANSWERS_BETWEEN = 300


class Echoes(Load):
    """Also counts who has answered."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.answered_by: Counter[int] = Counter()

    def is_right(self, number: int, status: int, said: Any) -> bool:
        right = super().is_right(number, status, said)
        if right:
            self.answered_by[said["pid"]] += 1
        return right


@pytest.mark.timeout(240)
async def test_no_request_fails_while_workers_are_replaced() -> None:
    async with group() as running:
        pids = await running.next_pids()
        served = set(pids)
        load = Echoes(f"http://127.0.0.1:{running.port}")
        async with under(load):
            await load.answers(ANSWERS_BETWEEN)
            for turn in range(ROUNDS):
                running.workers.renew()
                for _ in range(COUNT):
                    pids = await running.next_pids()
                served |= set(pids)
                await load.answers(ANSWERS_BETWEEN)
                os.kill(pids[turn % COUNT], signal.SIGTERM)
                pids = await running.next_pids()
                served |= set(pids)
                await load.answers(ANSWERS_BETWEEN)
        assert not load.failures
        assert len(served) == COUNT + ROUNDS * (COUNT + 1)
        assert set(load.answered_by) <= served
        assert len(load.answered_by) > COUNT
