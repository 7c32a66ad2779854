"""What a first visitor finds: the catalogue, two logins, a sale. Made once, found ever after."""

from __future__ import annotations

import secrets
import uuid
from datetime import timedelta
from pathlib import Path

import msgspec

from flashorder.accounts.model import AddressParts
from flashorder.infra.embedded.data_folder import write_private
from flashorder.infra.postgres.pool import Pool, connect_postgres, database_failures
from flashorder.infra.postgres.sql import load_sql
from flashorder.kernel.clock import utc_now
from flashorder.kernel.errors import Conflict
from flashorder.kernel.money import Money
from flashorder.settings import Settings

_SQL = load_sql("flashorder.standalone")
LOGINS_FILE = "demonstration.json"
TITLE = "Demonstration sale"
DURATION = timedelta(hours=24)
PRODUCTS = 5
UNITS_EACH = 200
PER_BUYER_LIMIT = 2
ACTOR = "demonstration"
BUYER_ADDRESS = AddressParts(
    recipient="Demonstration buyer",
    line1="1 Example Street",
    city="London",
    postal_code="N1 9GU",
    country="GB",
)


class Login(msgspec.Struct, frozen=True):
    """Somebody who can sign in."""

    email: str
    password: str


class Logins(msgspec.Struct, frozen=True):
    """Kept in the data folder with mode 0600."""

    buyer: Login
    operator: Login


class Demonstration(msgspec.Struct, frozen=True):
    """What there is to try; ``sku`` is one of the sale's."""

    logins: Logins
    sale_id: uuid.UUID
    sku: str


async def prepare_demonstration(settings: Settings) -> Demonstration:
    """Make what is missing of catalogue, logins and sale. Idempotent."""
    pool = await connect_postgres(settings.required_database_url(), connections_max=2)
    try:
        await _import_catalogue(pool)
        logins = await _ensure_logins(pool, settings)
        sale_id, sku = await _ensure_sale(pool, settings)
        return Demonstration(logins, sale_id, sku)
    finally:
        await pool.close()


async def import_shipped_catalogue(settings: Settings) -> None:
    """The shipped catalogue, unless there are products already."""
    pool = await connect_postgres(settings.required_database_url(), connections_max=1)
    try:
        await _import_catalogue(pool)
    finally:
        await pool.close()


async def _import_catalogue(pool: Pool) -> None:
    with database_failures():
        if await pool.fetchval("SELECT EXISTS (SELECT FROM products)"):
            return
    from flashorder.data import CATALOGUE_FILE  # noqa: PLC0415 - only on the first start
    from flashorder.inventory.catalogue_import import import_catalogue  # noqa: PLC0415

    await import_catalogue(pool, CATALOGUE_FILE, actor=ACTOR)


async def _ensure_logins(pool: Pool, settings: Settings) -> Logins:
    path = settings.data_dir / LOGINS_FILE
    kept = _kept_logins(path)
    if kept is not None:
        known = await _count_known(pool, kept)
        if known == 2:
            return kept
    from flashorder.accounts.service import AccountService  # noqa: PLC0415 - heavy
    from flashorder.infra.http.endpoint import Role  # noqa: PLC0415
    from flashorder.infra.http.tokens import Authenticator  # noqa: PLC0415

    accounts = AccountService(pool, settings, Authenticator.of(settings))
    logins = kept or _new_logins("")
    try:
        try:
            buyer = await accounts.create_account(
                logins.buyer.email, logins.buyer.password, "Demonstration buyer", Role.SHOPPER
            )
            await accounts.create_account(
                logins.operator.email, logins.operator.password, "Operator", Role.OPERATOR
            )
        except Conflict:  # a database that another data folder has shown before
            logins = _new_logins(f".{secrets.token_hex(3)}")
            buyer = await accounts.create_account(
                logins.buyer.email, logins.buyer.password, "Demonstration buyer", Role.SHOPPER
            )
            await accounts.create_account(
                logins.operator.email, logins.operator.password, "Operator", Role.OPERATOR
            )
        # Orders that name no address go to the buyer's newest.
        await accounts.add_address(buyer.account_id, BUYER_ADDRESS)
    finally:
        accounts.close()
    write_private(path, msgspec.json.encode(logins))
    return logins


def _new_logins(suffix: str) -> Logins:
    return Logins(
        Login(f"buyer{suffix}@example.com", secrets.token_urlsafe(12)),
        Login(f"operator{suffix}@example.com", secrets.token_urlsafe(12)),
    )


def _kept_logins(path: Path) -> Logins | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Logins)
    except (OSError, msgspec.MsgspecError):
        return None


async def _count_known(pool: Pool, logins: Logins) -> int:
    emails = [logins.buyer.email, logins.operator.email]
    with database_failures():
        count: int = await pool.fetchval(
            "SELECT count(*) FROM accounts WHERE lower(email) = ANY($1::text[])", emails
        )
    return count


async def _ensure_sale(pool: Pool, settings: Settings) -> tuple[uuid.UUID, str]:
    with database_failures():
        sale_id = await pool.fetchval(_SQL["live_sale"])
    if sale_id is None:
        sale_id = await _open_sale(pool, settings)
    with database_failures():
        sku: str = await pool.fetchval(
            "SELECT sku FROM sale_items WHERE sale_id = $1 ORDER BY allotted - committed DESC, sku",
            sale_id,
        )
    return sale_id, sku


async def _open_sale(pool: Pool, settings: Settings) -> uuid.UUID:
    from flashorder.infra.redis.connection import connect_redis  # noqa: PLC0415 - heavy
    from flashorder.inventory.ledger import StockLedger  # noqa: PLC0415
    from flashorder.sales.front import SaleFront  # noqa: PLC0415
    from flashorder.sales.model import DraftItem, SaleDraft  # noqa: PLC0415
    from flashorder.sales.service import SalesService  # noqa: PLC0415

    with database_failures():
        products = await pool.fetch(_SQL["pick_products"], PRODUCTS)
    starts_at = utc_now()
    redis = connect_redis(settings.required_redis_url())
    try:
        sales = SalesService(pool, SaleFront(redis, settings.shards), StockLedger(), settings)
        sale = await sales.create(
            SaleDraft(
                TITLE,
                starts_at,
                starts_at + DURATION,
                tuple(
                    DraftItem(
                        row["sku"],
                        UNITS_EACH,
                        Money(row["unit_price_amount"] // 2, row["currency"]),
                        PER_BUYER_LIMIT,
                    )
                    for row in products
                ),
            ),
            actor=ACTOR,
        )
        await sales.open(sale.sale_id)
        return sale.sale_id
    finally:
        await redis.aclose()
