"""One service for all tests of this room, and a client of it for each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from flashorder.infra.embedded import DataFolder, EmbeddedStore
from tests.security.client import Client, client_of
from tests.security.service import Service, running_service
from tests.stores import TEMPLATE, SharedStores


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def standing_stores(
    shared_stores: SharedStores, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[str, str]]:
    """A store that no other test empties, and a database: their URLs."""
    with DataFolder(tmp_path_factory.mktemp("security")) as folder:
        store = EmbeddedStore(folder, maxmemory="256mb")
        try:
            await store.start()
            async with shared_stores.fresh_database(TEMPLATE) as database_url:
                yield store.url, database_url
        finally:
            await store.stop()


@pytest.fixture(scope="session")
def service(
    standing_stores: tuple[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """The service, with the scene in it. Tests leave what is in the scene as it is."""
    with running_service(*standing_stores, tmp_path_factory.mktemp("service")) as service:
        yield service


@pytest_asyncio.fixture
async def client(service: Service) -> AsyncIterator[Client]:
    """A client that holds every answer against the document."""
    async with client_of(service) as client:
        yield client
