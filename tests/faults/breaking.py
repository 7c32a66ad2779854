"""Doing the faults of a plan to a running system, and undoing all of them at the end."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress

import aiohttp
import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

from flashorder.infra.redis import keys
from flashorder.inventory.reconciliation.stream import GROUP
from tests.faults.history import FAULT, FAULT_ENDS, HistoryFile
from tests.faults.links import FAIR
from tests.faults.schedule import OF_LINKS, OF_THE_STORE, Fault, Kind
from tests.faults.system import DATABASE, System
from tests.faults.waking import LateWaking

CONTROL_TIMEOUT = aiohttp.ClientTimeout(total=2.0)
TARGET_DOWN_POLL_SECONDS = 0.02
TARGET_DOWN_TIMEOUT_SECONDS = 10.0
FULL_BYTES = 1_000_000
"""Less than an empty store needs: every write that takes memory is refused."""
CALM: dict[str, dict[str, float]] = {
    "payments": {"refuse_refund_rate": 0.0},
    "carrier": {"pace_ms": 200},
}
"""Good manners; the carrier's parcels hurry always."""


class Breaker:
    """Owns the faults that are going on."""

    def __init__(
        self, system: System, history: HistoryFile, session: aiohttp.ClientSession
    ) -> None:
        self._system = system
        self._history = history
        self._session = session
        self._frozen: set[int] = set()
        self._restarts = 0
        self.done: list[Fault] = []
        self.missed: list[Fault] = []

    async def run(self, faults: list[Fault]) -> None:
        """Each at its time, overlapping as they come; returns when the last has ended."""
        clock = asyncio.get_running_loop().time
        began = clock()
        async with asyncio.TaskGroup() as group:
            for fault in faults:
                await asyncio.sleep(max(0.0, began + fault.at_seconds - clock()))
                group.create_task(self._do(fault))

    async def heal(self) -> None:
        """Nothing is frozen, every link is fair, the simulators behave."""
        for pid in list(self._frozen):
            self.thaw([pid])
        for pid in self._system.all_pids():
            _signal(pid, signal.SIGCONT)
        for link in self._system.links.values():
            link.becomes(FAIR)
        await self._make_room()
        for disk in self._system.disks.values():
            disk.free()
        for simulator in CALM:
            await self._manners(simulator, {}, patient=True)
        self._history.happens("healed")

    def restart(self, role: str) -> None:
        """SIGTERM to each process of a role in turn; those who keep it start another."""
        targets = [each for each in self._system.targets if each.partition(".")[0] == role]
        target = targets[self._restarts % len(targets)]
        self._restarts += 1
        for pid in self._system.pids(target)[:1]:
            _signal(pid, signal.SIGTERM)

    async def _do(self, fault: Fault) -> None:
        self._history.happens(f"{FAULT} {fault}")
        if fault.kind in OF_LINKS:
            await self._bad_weather(fault)
        elif fault.kind in OF_THE_STORE:
            await self._meddle(fault)
        elif fault.kind is Kind.MANNERS:
            await self._manners(fault.target, fault.manners)
            await asyncio.sleep(fault.seconds)
            await self._manners(fault.target, {})
            self.done.append(fault)
        elif fault.kind is Kind.FULL_DISK:
            await self._fill_disk(fault)
        elif fault.kind is Kind.LATE_WAKING:
            waking = LateWaking(self._system, fault.target, self.freeze, self.thaw)
            (self.done if await waking.run() else self.missed).append(fault)
        else:
            await self._hit(fault)
        self._history.happens(f"{FAULT_ENDS}{fault.number}")

    async def _hit(self, fault: Fault) -> None:
        pids = await self._pids_when_up(fault.target)
        if not pids:
            self.missed.append(fault)
            return
        if fault.kind is Kind.FREEZE:
            self.freeze(pids)
            await asyncio.sleep(fault.seconds)
            self.thaw(pids)
        else:
            kill = fault.kind is Kind.KILL
            # PostgreSQL ends orderly and fast on SIGINT; SIGTERM would wait for its clients.
            polite = signal.SIGINT if fault.target == DATABASE else signal.SIGTERM
            self.thaw(pids)
            _signal(pids[0], signal.SIGKILL if kill else polite)
        self.done.append(fault)

    async def _bad_weather(self, fault: Fault) -> None:
        link = self._system.links[fault.target]
        self.done.append(fault)
        if fault.kind is Kind.RESET:
            link.reset()
            return
        link.becomes(fault.weather)
        if fault.seconds:
            await asyncio.sleep(fault.seconds)
            if link.weather == fault.weather:
                link.becomes(FAIR)

    async def _meddle(self, fault: Fault) -> None:
        """Do it to the store as it is; one that is down at the moment is left alone."""
        try:
            async with Redis.from_url(self._system.store.url, socket_timeout=2.0) as redis:
                if fault.kind is Kind.FORGET_SCRIPTS:
                    await redis.script_flush()
                elif fault.kind is Kind.FORGET_GROUP:
                    for shard in range(self._system.shape.shards):
                        await redis.xgroup_destroy(keys.intents(shard), GROUP)
                else:
                    await redis.config_set("maxmemory", FULL_BYTES)
        except (RedisError, OSError):
            self.missed.append(fault)
            return
        self.done.append(fault)
        if fault.kind is Kind.FILL:
            await asyncio.sleep(fault.seconds)
            await self._make_room()

    async def _make_room(self) -> None:
        """A store that was started again since has its own limit already."""
        with suppress(RedisError, OSError):
            async with Redis.from_url(self._system.store.url, socket_timeout=2.0) as redis:
                await redis.config_set("maxmemory", self._system.store.maxmemory)

    async def _fill_disk(self, fault: Fault) -> None:
        """What runs on it meets ENOSPC, and so does what is started on it meanwhile."""
        disk = self._system.disks.get(fault.target)
        if disk is None:
            self.missed.append(fault)
            return
        self.done.append(fault)
        await asyncio.to_thread(disk.fill)
        await asyncio.sleep(fault.seconds)
        disk.free()

    async def _pids_when_up(self, target: str) -> list[int]:
        """The target may be on its way up from the fault before."""
        with suppress(TimeoutError):
            async with asyncio.timeout(TARGET_DOWN_TIMEOUT_SECONDS):
                while not (pids := self._system.pids(target)):
                    await asyncio.sleep(TARGET_DOWN_POLL_SECONDS)
                return pids
        return []

    def freeze(self, pids: list[int]) -> None:
        """SIGSTOP, until ``thaw`` or ``heal``."""
        for pid in pids:
            if _signal(pid, signal.SIGSTOP):
                self._frozen.add(pid)

    def thaw(self, pids: list[int]) -> None:
        """SIGCONT."""
        for pid in pids:
            _signal(pid, signal.SIGCONT)
            self._frozen.discard(pid)

    async def _manners(
        self, simulator: str, knobs: dict[str, float], *, patient: bool = False
    ) -> None:
        """Tell the simulator; one that is down has its default manners when it is back."""
        url = f"{self._system.simulator_urls[simulator]}/control"
        body = msgspec.json.encode(CALM[simulator] | knobs)
        for _ in range(50 if patient else 1):
            with suppress(aiohttp.ClientError, TimeoutError, OSError):
                async with self._session.put(url, data=body, timeout=CONTROL_TIMEOUT) as answer:
                    if answer.status == 200:
                        return
            await asyncio.sleep(0.1)


def _signal(pid: int, number: signal.Signals) -> bool:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True
