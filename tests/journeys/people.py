"""Who takes part in a journey: an operator, a shopper, and a product to sell."""

from __future__ import annotations

from flashorder.accounts.service import AccountService
from flashorder.infra.http.endpoint import Role
from flashorder.infra.http.tokens import Authenticator
from flashorder.infra.postgres.pool import connect_postgres
from flashorder.settings import Settings


async def sign_in(settings: Settings, sku: str) -> tuple[str, str]:
    """Bearer tokens of an operator and a shopper; the product ``sku`` is there afterwards."""
    pool = await connect_postgres(settings.required_database_url())
    accounts = AccountService(pool, settings, Authenticator.of(settings))
    try:
        (operator,) = await anext(accounts.mint_tokens(1, Role.OPERATOR))
        (shopper,) = await anext(accounts.mint_tokens(1, Role.SHOPPER))
        await pool.execute(
            "INSERT INTO products (sku, name, unit_price_amount, currency) "
            "VALUES ($1, 'WHITE HANGING HEART T-LIGHT HOLDER', 299, 'GBP')",
            sku,
        )
    finally:
        accounts.close()
        await pool.close()
    return operator, shopper
