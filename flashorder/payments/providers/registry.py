"""The providers that this deployment uses, by name."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import aiohttp

from flashorder.payments.providers.port import PaymentProvider
from flashorder.payments.providers.simulator import SimulatorProvider
from flashorder.settings import Settings


class ProviderRegistry:
    """Looks providers up; their names are unique."""

    def __init__(self, *providers: PaymentProvider) -> None:
        self._by_name = {provider.name: provider for provider in providers}
        assert len(self._by_name) == len(providers), "a provider's name is used twice"

    def find(self, name: str) -> PaymentProvider | None:
        """The provider of that name."""
        return self._by_name.get(name)

    def __getitem__(self, name: str) -> PaymentProvider:
        return self._by_name[name]

    def __iter__(self) -> Iterator[PaymentProvider]:
        return iter(self._by_name.values())

    @property
    def names(self) -> list[str]:
        """Every name, sorted."""
        return sorted(self._by_name)


@asynccontextmanager
async def open_providers(settings: Settings) -> AsyncIterator[ProviderRegistry]:
    """Every configured provider on one HTTP session, which is closed at the end.

    Nothing is connected before the first call.
    """
    connector = aiohttp.TCPConnector(limit=settings.provider_connections_max)
    async with aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=settings.provider_timeout_seconds),
    ) as session:
        yield ProviderRegistry(
            SimulatorProvider(
                session,
                url=settings.payment_simulator_url,
                api_key=settings.derived_key("api:payments:simulator").hex(),
                webhook_secret=settings.derived_key("webhooks:payments:simulator"),
            )
        )
