"""Use cases of sales: PostgreSQL is asked first, then the front is told; see ``convergence``."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from flashorder.infra.postgres.pool import Connection, Pool, database_failures, transaction
from flashorder.kernel.errors import (
    FieldError,
    InvalidInput,
    InvalidState,
    NotFound,
    StoreUnavailable,
)
from flashorder.kernel.identifiers import new_id
from flashorder.sales import store
from flashorder.sales.convergence import Convergence
from flashorder.sales.front import SaleFront
from flashorder.sales.model import (
    LIVE,
    SALE,
    Sale,
    SaleDraft,
    SaleStatus,
    TopUp,
    checked_draft,
)
from flashorder.sales.ports import StockLedger
from flashorder.sales.settling import Settling
from flashorder.sales.store import SQL
from flashorder.settings import Settings


class SalesService:
    """What operators do with sales. Actors are texts such as ``operator:<account id>``, ``cli``.

    Each change is one guarded statement; made again, it changes nothing and answers the same.
    Every method raises ``DatabaseUnavailable`` when PostgreSQL is away; when only the store is,
    the change stands, ``synced`` is false, and the job tells the front once it is back.
    """

    def __init__(
        self, pool: Pool, front: SaleFront, stock: StockLedger, settings: Settings
    ) -> None:
        self._pool = pool
        self._front = front
        self._stock = stock
        self._settings = settings
        self.convergence = Convergence(pool, front)
        self.settling = Settling(
            pool,
            front,
            stock,
            self.convergence,
            delay_seconds=settings.sale_settle_delay_seconds,
        )

    async def create(
        self, draft: SaleDraft, *, actor: str, request_id: uuid.UUID | None = None
    ) -> Sale:
        """Write a draft and allot its units, once by ``request_id`` if there is one.

        ``InvalidInput`` names each field that cannot be; ``Conflict`` ``insufficient_stock``.
        """
        draft = checked_draft(draft)
        window_seconds = draft.payment_window_seconds or self._settings.payment_window_seconds
        sale_id = new_id()
        async with transaction(self._pool) as connection:
            await self._check_products(connection, draft)
            if not await store.insert_draft(connection, sale_id, draft, window_seconds, request_id):
                made = await connection.fetchval(SQL["find_requested"], request_id)
                if made is not None:
                    return await self.get(made)
                raise InvalidInput(
                    "the sale has ended already",
                    fields=(FieldError("/ends_at", "past", "lies in the past"),),
                )
            await self._stock.allocate(
                connection,
                {item.sku: item.quantity for item in draft.items},
                sale_id=sale_id,
                source=sale_id,
                cause="sale_created",
                actor=actor,
            )
        return await self.get(sale_id)

    async def get(self, sale_id: uuid.UUID) -> Sale:
        """The sale; ``NotFound`` ``sale_not_found``."""
        sales = await store.read_sales(self._pool, [sale_id])
        if not sales:
            raise NotFound("there is no such sale", code="sale_not_found")
        return sales[0]

    async def page(
        self, *, status: SaleStatus | None = None, before: uuid.UUID | None = None, limit: int = 50
    ) -> list[Sale]:
        """Sales of a status, newest first, those older than ``before``."""
        return await store.page_of_sales(self._pool, status, before, limit)

    async def schedule(self, sale_id: uuid.UUID) -> Sale:
        """Announce a draft: shoppers see it, and it opens by itself when its start comes."""
        return await self._step(sale_id, SaleStatus.SCHEDULED, SALE.sources(SaleStatus.SCHEDULED))

    async def open(self, sale_id: uuid.UUID) -> Sale:
        """Make a sale live. Purchases before ``starts_at`` are still refused, by the front."""
        return await self._step(sale_id, SaleStatus.OPEN, SALE.sources(SaleStatus.OPEN))

    async def pause(self, sale_id: uuid.UUID) -> Sale:
        """Refuse purchases until it is resumed."""
        return await self._step(sale_id, SaleStatus.PAUSED, SALE.sources(SaleStatus.PAUSED))

    async def resume(self, sale_id: uuid.UUID) -> Sale:
        """Let a paused sale go on."""
        return await self._step(sale_id, SaleStatus.OPEN, [SaleStatus.PAUSED])

    async def close(self, sale_id: uuid.UUID) -> Sale:
        """End purchases for good. Nothing goes back to stock before ``settle``."""
        return await self._step(sale_id, SaleStatus.CLOSED, SALE.sources(SaleStatus.CLOSED))

    async def top_up(
        self,
        sale_id: uuid.UUID,
        sku: str,
        quantity: int,
        *,
        top_up_id: uuid.UUID,
        actor: str,
        requested_by: uuid.UUID | None = None,
    ) -> Sale:
        """Add ``quantity`` units of stock to one SKU, once by ``top_up_id``."""
        if quantity < 1:
            raise InvalidInput(
                "a top-up adds units",
                fields=(FieldError("/quantity", "range", "at least 1 unit"),),
            )
        promised = await self._promise_top_up(
            sale_id, sku, quantity, top_up_id=top_up_id, actor=actor, requested_by=requested_by
        )
        if promised.applied_at is None:
            await self.convergence.try_push(sale_id)
        return await self.get(sale_id)

    async def settle(self, sale_id: uuid.UUID, *, actor: str) -> Sale:
        """Give what a closed sale did not sell back to stock, and forget it at the front.

        ``Conflict`` ``sale_not_drained`` while a purchase is on its way into PostgreSQL, a
        cancelled one on its way back, or somebody may still pay; ``StoreUnavailable``. A front
        that has lost the sale has nothing on its way: then PostgreSQL alone decides.
        """
        await self.settling.settle(sale_id, actor=actor)
        return await self.get(sale_id)

    async def is_at_front(self, sale: Sale) -> bool:
        """Whether every shard of the front has this generation of the sale; ``StoreUnavailable``.

        Of a live or closed sale that was told to the front, False means that the front lost it.
        """
        shards = await self._front.snapshot(sale.sale_id)
        return len(shards) == self._settings.shards and all(
            shard.generation == sale.generation for shard in shards
        )

    async def at_front(self, sales: Sequence[Sale]) -> dict[uuid.UUID, bool | None]:
        """``is_at_front`` of each sale, for somebody who looks; None once the store is away."""
        there: dict[uuid.UUID, bool | None] = {}
        for sale in sales:
            try:
                there[sale.sale_id] = await self.is_at_front(sale)
            except StoreUnavailable:
                break
        return {sale.sale_id: there.get(sale.sale_id) for sale in sales}

    async def begin_generation(self, sale: Sale) -> bool:
        """Begin the generation after ``sale``'s, for a rebuild; False when it has moved on.

        Nothing is told to the front of it until ``finish_generation``.
        """
        shards = await self._front.snapshot(sale.sale_id)
        highest = max((shard.generation for shard in shards), default=0)
        states = sorted(LIVE | {SaleStatus.CLOSED})
        with database_failures():
            begun = await self._pool.fetchval(
                SQL["begin_generation"], sale.sale_id, sale.generation, highest, states
            )
        return begun is not None

    async def finish_generation(self, sale: Sale) -> bool:
        """The front is filled: bring it to the present state. False when another has finished."""
        with database_failures():
            finished = await self._pool.fetchval(
                SQL["finish_generation"], sale.sale_id, sale.generation
            )
        await self.convergence.try_push(sale.sale_id)
        return finished is not None

    async def _step(self, sale_id: uuid.UUID, target: SaleStatus, sources: list[str]) -> Sale:
        async with transaction(self._pool) as connection:
            row = await connection.fetchrow(SQL["transition"], sale_id, target, sources)
        if row is None:
            sale = await self.get(sale_id)
            if sale.status is target:
                return sale
            if sale.status in sources:
                raise InvalidState("the sale is over: its end has passed")
            raise InvalidState(f"a sale that is {sale.status} cannot become {target}")
        await self.convergence.try_push(sale_id)
        return await self.get(sale_id)

    async def _promise_top_up(
        self,
        sale_id: uuid.UUID,
        sku: str,
        quantity: int,
        *,
        top_up_id: uuid.UUID,
        actor: str,
        requested_by: uuid.UUID | None,
    ) -> TopUp:
        async with transaction(self._pool) as connection:
            # The lock keeps a closing or settling from passing between the check and the promise.
            status = await connection.fetchval(SQL["lock_sale"], sale_id)
            if status is None:
                raise NotFound("there is no such sale", code="sale_not_found")
            known = await connection.fetchrow(SQL["read_top_up"], top_up_id)
            if known is not None:
                return TopUp(**dict(known))
            if status not in LIVE | {SaleStatus.DRAFT}:
                raise InvalidState(f"a sale that is {status} cannot be topped up")
            raised = await connection.fetchval(SQL["raise_allotment"], sale_id, sku, quantity)
            if raised is None:
                raise NotFound("the sale does not have this SKU", code="sku_not_in_sale")
            await connection.fetchval(
                SQL["insert_top_up"],
                top_up_id,
                sale_id,
                sku,
                quantity,
                "operator",
                requested_by,
            )
            await self._stock.allocate(
                connection,
                {sku: quantity},
                sale_id=sale_id,
                source=top_up_id,
                cause="sale_top_up",
                actor=actor,
            )
        top_up = await store.read_top_up(self._pool, top_up_id)
        assert top_up is not None, "a top-up that was committed is there"
        return top_up

    async def _check_products(self, connection: Connection, draft: SaleDraft) -> None:
        skus = [item.sku for item in draft.items]
        known = {row["sku"]: row for row in await connection.fetch(SQL["read_products"], skus)}
        wrong = []
        for index, item in enumerate(draft.items):
            product = known.get(item.sku)
            at = f"/items/{index}"
            if product is None or not product["active"]:
                wrong.append(FieldError(f"{at}/sku", "sku_not_found", "no product for sale"))
            elif product["currency"] != item.unit_price.currency:
                wrong.append(
                    FieldError(
                        f"{at}/unit_price/currency",
                        "currency_mismatch",
                        f"the product is priced in {product['currency']}",
                    )
                )
        if wrong:
            raise InvalidInput("the sale names products it cannot sell", fields=tuple(wrong))
