"""The sales that the front knows, kept in memory: what shoppers see, and what a purchase needs."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import OrderedDict
from contextlib import suppress
from dataclasses import replace

import structlog

from flashorder.infra.redis.connection import RETRY_AFTER_SECONDS
from flashorder.kernel.errors import StoreUnavailable
from flashorder.sales.front import FENCED, FrontSale, SaleFront

log = structlog.get_logger(__name__)
GENERATIONS_REMEMBERED_MAX = 10_000
HURRY_SECONDS = 0.05


class SaleDirectory:
    """A worker's view of every sale at the front, refreshed by one task (``run``).

    A reading is one round trip that all askers share: who asks while one is under way gets the
    next one, so that nobody is answered from before the question. With the store away the last
    reading stays, and ``stale`` says so.

    A generation never goes backwards here: if the store comes back with older data, the sale keeps
    the highest generation seen, and the reserve script refuses what the store then offers.
    """

    def __init__(self, front: SaleFront, *, refresh_seconds: float) -> None:
        self._front = front
        self._refresh_seconds = refresh_seconds
        self._sales: dict[uuid.UUID, FrontSale] = {}
        self._generations: OrderedDict[uuid.UUID, int] = OrderedDict()
        self._reading = asyncio.Lock()
        self._readings_begun = 0
        self._readings_done = 0
        self._read_at: float | None = None
        self._store_ahead_ms = 0.0
        self._away = False
        self._wanted = asyncio.Event()

    async def run(self, stopping: asyncio.Event) -> None:
        """Refresh until ``stopping`` is set; the store being away is waited out."""
        stop = asyncio.ensure_future(stopping.wait())
        stop.add_done_callback(lambda _: self._wanted.set())
        try:
            while not stopping.is_set():
                self._wanted.clear()
                await self._read_anyway()
                # However many ask for it, the store is not read without a pause.
                await asyncio.wait({stop}, timeout=min(HURRY_SECONDS, self._refresh_seconds))
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._wanted.wait(), self._refresh_seconds)
        finally:
            stop.cancel()

    async def _read_anyway(self) -> None:
        try:
            async with self._reading:
                await self._read()
        except StoreUnavailable:
            pass  # told once by _read(); the last reading stays
        except Exception as error:  # a reading that cannot be understood must not end the task
            log.warning("sale_directory_unreadable", error=repr(error))

    def refresh_soon(self) -> None:
        """Have ``run`` read again without waiting for its time."""
        self._wanted.set()

    def get(self, sale_id: uuid.UUID) -> FrontSale | None:
        """The sale as last read, without asking the store."""
        return self._sales.get(sale_id)

    async def find(self, sale_id: uuid.UUID) -> FrontSale | None:
        """The sale; for one that is unknown the store is asked once more. ``StoreUnavailable``."""
        known = self._sales.get(sale_id)
        if known is None:
            await self.refresh()
            known = self._sales.get(sale_id)
        return known

    def all(self) -> list[FrontSale]:
        """Every sale as last read, newest first."""
        return list(self._sales.values())

    async def freshen(self) -> None:
        """Read again if the last reading is older than ``refresh_seconds``.

        Does nothing while ``run`` keeps pace. A store that is away is an error only where there is
        nothing older to tell.
        """
        if not self.stale and self.age_seconds <= 2 * self._refresh_seconds:
            return
        if self._away and self._read_at is not None:
            return  # run() tries again by itself; shoppers are answered from what there is
        try:
            await self.refresh()
        except StoreUnavailable:
            if self._read_at is None:
                raise

    async def refresh(self) -> None:
        """A reading that began after this was called, shared by all who wait for one.

        Raises ``StoreUnavailable``; at once while the store is known to be away, so that nobody
        queues for time-outs: ``run`` goes on asking.
        """
        wanted = self._readings_begun + 1
        if self._away:
            raise _away()
        async with self._reading:
            if self._readings_done >= wanted:
                return
            if self._away:
                raise _away()
            await self._read()

    async def _read(self) -> None:
        self._readings_begun += 1
        try:
            sales = await self._front.read_all()
            store_ms = await self._front.now_ms()
        except StoreUnavailable as error:
            if not self._away:
                log.warning("sale_directory_stale", error=error.detail)
            self._away = True
            raise
        self._take(sales, store_ms)
        self._readings_done = self._readings_begun

    @property
    def stale(self) -> bool:
        """Whether the store could not be asked when it last should have been."""
        return self._away or self._read_at is None

    @property
    def age_seconds(self) -> float:
        """How old the last reading is; infinite before the first."""
        return float("inf") if self._read_at is None else time.monotonic() - self._read_at

    def now_ms(self) -> int:
        """The store's clock, Unix ms, carried on by the monotonic clock since the last reading."""
        return round(time.monotonic() * 1000 + self._store_ahead_ms)

    def _take(self, sales: list[FrontSale], store_ms: int) -> None:
        self._read_at = time.monotonic()
        self._store_ahead_ms = store_ms - self._read_at * 1000
        self._away = False
        self._sales = {sale.sale_id: self._never_backwards(sale) for sale in sales}

    def _never_backwards(self, sale: FrontSale) -> FrontSale:
        highest = max(sale.generation, self._generations.get(sale.sale_id, 0))
        self._generations[sale.sale_id] = highest
        self._generations.move_to_end(sale.sale_id)
        while len(self._generations) > GENERATIONS_REMEMBERED_MAX:
            self._generations.popitem(last=False)
        if highest == sale.generation:
            return sale
        if sale.generation != FENCED:  # that was told by whoever fenced it
            log.error("sale_generation_went_back", sale_id=str(sale.sale_id), highest=highest)
        return replace(sale, generation=highest)


def _away() -> StoreUnavailable:
    return StoreUnavailable(retry_after_seconds=RETRY_AFTER_SECONDS)
