"""What every room's tests share: the stores, and the seed.

Nothing outlives pytest, even a killed one: the servers carry a parent death signal.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
import structlog

from flashorder.infra.embedded import DataFolder
from tests import scratch, seeds
from tests.stores import TEMPLATE, BreakableStores, SharedStores

_SCRATCH = pytest.StashKey[Path]()


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Before anybody asks for a temporary folder; workers of xdist have theirs in this one's."""
    config.pluginmanager.register(seeds)
    if hasattr(config, "workerinput") or config.option.basetemp is not None:
        return
    folder = scratch.begin()
    if folder is not None:
        config.option.basetemp = str(folder / "pytest")
        config.stash[_SCRATCH] = folder


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """When every worker has ended; what a failed session wrote is kept until the next begins."""
    folder = session.config.stash.get(_SCRATCH, None)
    if folder is not None and exitstatus == 0:
        scratch.end(folder)


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """A command that a test runs in this process sets up logging; the next test starts without."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared_stores(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[SharedStores]:
    """One pair of servers for the session (under xdist: for each worker)."""
    with DataFolder(tmp_path_factory.mktemp("stores")) as folder:
        stores = SharedStores(folder)
        try:
            await stores.start()
            yield stores
        finally:
            await stores.stop()


@pytest_asyncio.fixture
async def redis_url(shared_stores: SharedStores) -> str:
    """An empty store."""
    await shared_stores.empty_store()
    return shared_stores.store.url


@pytest_asyncio.fixture
async def database_url(shared_stores: SharedStores) -> AsyncIterator[str]:
    """A migrated database of the test's own."""
    async with shared_stores.fresh_database(TEMPLATE) as url:
        yield url


@pytest_asyncio.fixture
async def empty_database_url(shared_stores: SharedStores) -> AsyncIterator[str]:
    """A database of the test's own without any schema."""
    async with shared_stores.fresh_database("template0") as url:
        yield url


@pytest_asyncio.fixture
async def stores(tmp_path: Path) -> AsyncIterator[BreakableStores]:
    """Servers of the test's own, started, to be killed, paused and restarted."""
    with DataFolder(tmp_path / "stores") as folder:
        own = BreakableStores(folder)
        try:
            await own.start()
            yield own
        finally:
            await own.stop()
