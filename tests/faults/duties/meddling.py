"""What comes from outside: simulators with bad manners, a store that forgets, a poisoned event."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import replace

from flashorder.infra.redis import keys
from flashorder.inventory.reconciliation.stream import GROUP
from tests.faults.breaking import CALM
from tests.faults.duties.staff import Staff
from tests.faults.links import FAIR
from tests.faults.schedule import manners

MANNERS_SECONDS = 3.0
MEMORY_SECONDS = 8.0
AWAY_SECONDS = 0.7
POISON = "chaos.poison"


async def change_manners(staff: Staff) -> None:
    """Other ones for a while, then good ones for as long."""
    for simulator in CALM:
        for knobs in (manners(staff.chance, simulator), {}):
            await staff.have_manners(simulator, CALM[simulator] | knobs)
            await asyncio.sleep(MANNERS_SECONDS)


async def forget_things(staff: Staff) -> None:
    """The scripts, and who has read what."""
    await asyncio.sleep(MEMORY_SECONDS)
    async with staff.store() as redis:
        await redis.script_flush()
        for shard in range(staff.system.shape.shards):
            await redis.xgroup_destroy(keys.intents(shard), GROUP)


async def lose_the_line(staff: Staff) -> None:
    """The web workers cannot reach the store for a moment, and look for it until they can."""
    await asyncio.sleep(MEMORY_SECONDS)
    link = staff.system.links["web>store"]
    link.becomes(replace(FAIR, refuses=True))
    link.reset()
    await asyncio.sleep(AWAY_SECONDS)
    link.becomes(FAIR)


async def poison_the_outbox(staff: Staff) -> None:
    """An event that nobody can handle fails until an operator gives it up."""
    async with staff.database() as connection:
        event_id = await connection.fetchval(
            "INSERT INTO outbox (topic, key, payload) VALUES ($1, $2, '{}') RETURNING event_id",
            POISON,
            uuid.uuid4(),
        )
    one = f"admin/outbox/{event_id}"

    async def decided() -> bool:
        await staff.call("GET", "admin/outbox?status=failing")
        await staff.call("POST", f"{one}/retry")
        await staff.call("POST", f"{one}/discard")
        read = await staff.call("GET", one)
        return read.ok and read.body["status"] == "discarded"

    await staff.until(decided, 60.0)
