"""No request fails while workers are replaced under load: every answer counts, and is counted."""

from __future__ import annotations

import os
import signal

from tests.infra.http.worker_group import COUNT, group, load_on

ROUNDS = 3
ANSWERS_BETWEEN = 300


async def test_no_request_fails_while_workers_are_replaced() -> None:
    async with group() as running:
        pids = await running.next_pids()
        served = set(pids)
        async with load_on(running.port) as load:
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
        assert set(load.answered_by) == served
        assert len(served) == COUNT + ROUNDS * (COUNT + 1)
