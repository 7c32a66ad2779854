"""The whole service as real processes, each with a known pid, each link through a ``Link``.

As ``flashorder up`` runs it, but that every role is given addresses of its own, so that one link
can fail while the others hold, and that consumers and workers are two each, as they are best.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import msgspec
import psutil  # type: ignore[import-untyped]
from redis.asyncio import Redis
from redis.exceptions import RedisError

from flashorder.infra.embedded import (
    DataFolder,
    EmbeddedDatabase,
    EmbeddedServerError,
    EmbeddedStore,
)
from flashorder.infra.embedded.ports import LOOPBACK, free_port
from flashorder.infra.embedded.postgres import ROLE
from flashorder.infra.http.endpoint import Role
from flashorder.infra.http.tokens import TokenSigner
from flashorder.infra.postgres.migrations import migrate
from flashorder.infra.supervision import Console, RoleCommand, RoleLog, SupervisedRole
from flashorder.kernel.identifiers import new_id
from flashorder.settings import Settings
from flashorder.standalone.demonstration import import_shipped_catalogue
from flashorder.standalone.probe import until_ok
from tests.faults.clients import Buyer
from tests.faults.disks import SmallDisk
from tests.faults.links import Link

READY_TIMEOUT_SECONDS = 120.0
TOKEN_SECONDS = 86400
INSIDE = Path(__file__).with_name("inside")
RESTART_PAUSE_SECONDS = 0.1
STORE, DATABASE, WEB = "store", "database", "web"
SESSION = "session"
"""One process of the database that serves a role: killed, it takes all others along."""
PAYMENTS, CARRIER = "payments", "carrier"
# All buyers come from one address and at one speed: no limit is meant for them.
NO_LIMITS = {
    "FLASHORDER_ADDRESS_REQUESTS_PER_SECOND": "1000000",
    "FLASHORDER_ADDRESS_REQUESTS_BURST": "1000000",
    "FLASHORDER_BUYER_REQUESTS_PER_SECOND": "1000000",
    "FLASHORDER_BUYER_REQUESTS_BURST": "1000000",
}
# Whatever waits for the clock in real life waits for seconds here.
HASTY = {
    "FLASHORDER_COMPLETION_DELAY_SECONDS": "1",
    "FLASHORDER_AUTOPILOT": "true",
    "FLASHORDER_AUTOPILOT_PAUSE_SECONDS": "0.2",
    "FLASHORDER_PAYMENT_SILENCE_SECONDS": "2",
    "FLASHORDER_TRACKING_SILENCE_SECONDS": "5",
    "FLASHORDER_RECONCILIATION_INTERVAL_SECONDS": "5",
    "FLASHORDER_REFUND_RETRY_SECONDS": "1",
}
# Where fail points are walked, everything that there is has to be come by.
THOROUGH = {
    "FLASHORDER_SALE_SETTLE_DELAY_SECONDS": "3",
    "FLASHORDER_AUTOPILOT_PAUSE_SECONDS": "1.5",
    "FLASHORDER_LOGIN_ATTEMPTS_PER_MINUTE": "100000",
    "FLASHORDER_LOGIN_ATTEMPTS_PER_ADDRESS_PER_MINUTE": "100000",
}
# What a run with small disks may write until it is healed.
PURCHASES_ON_SMALL_DISKS_MAX = 20_000
STORE_MEGABYTES, DATABASE_MEGABYTES = 96, 512
FRUGAL = {"max_wal_size": "96MB", "min_wal_size": "32MB"}
# Each UPDATE of what is committed is witnessed, whatever the service says of it afterwards.
WITNESS = """
CREATE SCHEMA chaos;
CREATE TABLE chaos.commitments (
    seen_no bigint GENERATED ALWAYS AS IDENTITY, sale_id uuid, sku text, committed integer,
    allotted integer
);
CREATE FUNCTION chaos.witness() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO chaos.commitments (sale_id, sku, committed, allotted)
    VALUES (NEW.sale_id, NEW.sku, NEW.committed, NEW.allotted);
    RETURN NULL;
END $$;
CREATE TRIGGER chaos_witness AFTER INSERT OR UPDATE ON sale_items
    FOR EACH ROW EXECUTE FUNCTION chaos.witness();
"""


@dataclass(frozen=True, slots=True)
class Shape:
    """How many of each there are."""

    web_workers: int = 2
    consumers: int = 2
    workers: int = 2
    shards: int = 1
    points: bool = False
    """Whether the roles have fail points; see ``points.py``."""
    clocks: Mapping[str, float] = field(default_factory=dict)
    """By how many seconds the wall clocks of which roles are wrong."""
    bug: str | None = None
    """What is wrong with the roles on purpose; see ``bugs.py``."""
    small_disks: bool = False
    """Whether each store has a disk that can be filled; ``disks.separate`` was called then."""


@dataclass(slots=True)
class System:
    """A running service; ``url`` is where clients call, through the link ``clients>web``."""

    folder: DataFolder
    shape: Shape
    settings: Settings
    store: EmbeddedStore
    database: EmbeddedDatabase
    links: dict[str, Link]
    simulator_urls: dict[str, str]
    web_port: int
    roles: dict[str, SupervisedRole] = field(default_factory=dict)
    deaths: dict[str, int] = field(default_factory=dict)
    disks: dict[str, SmallDisk] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Where clients call."""
        return f"http://{LOOPBACK}:{self.links['clients>web'].port}"

    @property
    def direct_url(self) -> str:
        """The service without a link before it."""
        return f"http://{LOOPBACK}:{self.web_port}"

    @property
    def points_folder(self) -> Path:
        """Where fail points are told and armed."""
        return self.folder.path / "points"

    @property
    def targets(self) -> tuple[str, ...]:
        """Every process that can be hit: roles, stores, and the web workers one by one."""
        web = [f"web.{n}" for n in range(self.shape.web_workers)]
        own = web if self.shape.web_workers > 1 else []
        return (*own, *self.roles, STORE, DATABASE, SESSION)

    def pids(self, target: str) -> list[int]:
        """The processes of a target as they are now, its head first; none while it is down."""
        if target in (STORE, DATABASE):
            server = self.store if target == STORE else self.database
            if not server.running:
                return []
            return [server.pid, *_children(server.pid)]
        if target == SESSION:
            pids = self.pids(DATABASE)
            return [pid for pid in pids if _is_session(pid)][-1:]
        if target.startswith("web."):
            # The file may be older than the web is now, and a pid in it be somebody else's since.
            head, index = self.roles[WEB].pid, int(target.removeprefix("web."))
            living = [] if head is None else _children(head)
            return [pid for pid in self._web_workers()[index : index + 1] if pid in living]
        pid = self.roles[target].pid
        return [] if pid is None else [pid]

    def all_pids(self) -> set[int]:
        """Every process of the service."""
        roots = [self.roles[name].pid for name in self.roles]
        pids = {pid for target in self.targets for pid in self.pids(target)}
        return pids | {pid for pid in roots if pid is not None}

    def buyers(self, count: int) -> list[Buyer]:
        """Distinct buyers with tokens that hold for the whole run."""
        return [self._somebody(Role.SHOPPER) for _ in range(count)]

    def operator(self) -> Buyer:
        """Somebody who may create a sale."""
        return self._somebody(Role.OPERATOR)

    def _somebody(self, role: Role) -> Buyer:
        account_id = new_id()
        token = TokenSigner.of(self.settings).sign(
            account_id, role, str(new_id()), lifetime_seconds=TOKEN_SECONDS
        )
        return Buyer(str(account_id), token)

    def _web_workers(self) -> list[int]:
        try:
            told = msgspec.json.decode((self.folder.path / "web.json").read_bytes())
        except (OSError, msgspec.MsgspecError):
            return []
        return list(told["workers"])


@asynccontextmanager
async def running_system(folder: Path, shape: Shape = Shape()) -> AsyncIterator[System]:
    """Everything started on a fresh ``folder``, and stopped at the end, whatever state it is in."""
    async with AsyncExitStack() as stack:
        data = stack.enter_context(DataFolder(folder))
        disks, database_data = _small_disks(stack, data) if shape.small_disks else ({}, data)
        store = EmbeddedStore(data)
        database = EmbeddedDatabase(database_data, durable=False, settings=FRUGAL if disks else {})
        stack.push_async_callback(store.stop)
        stack.push_async_callback(database.stop)
        await asyncio.gather(store.start(), database.start())
        await prepare_store(store)
        await migrate(database.url)
        await _execute(database.url, WITNESS)
        ports = {name: free_port() for name in (WEB, PAYMENTS, CARRIER)}
        links = {
            name: await stack.enter_async_context(
                Link(name, _Address(name.rpartition(">")[2], ports, store, database))
            )
            for name in _link_names()
        }
        settings = Settings.model_validate(
            {"redis_url": store.url, "database_url": database.url, "data_dir": folder,
             "shards": shape.shards}
        )  # fmt: skip
        await import_shipped_catalogue(settings)
        urls = {name: f"http://{LOOPBACK}:{ports[name]}" for name in (PAYMENTS, CARRIER)}
        (folder / "points").mkdir()
        system = System(
            data, shape, settings, store, database, links, urls, ports[WEB], disks=disks
        )
        console = Console("critical", StringIO())
        for name, command in _commands(system).items():
            role = SupervisedRole(command, RoleLog(data.log_folder, name, console), console)
            role.start()
            role.proven()
            system.roles[name] = role
        stack.push_async_callback(_stop_roles, system)
        async with asyncio.timeout(READY_TIMEOUT_SECONDS):
            await until_ok(f"{system.direct_url}/readyz")
            await asyncio.gather(*(until_ok(f"{url}/healthz") for url in urls.values()))
        keepers = [
            asyncio.create_task(_keep(system, STORE, store), name="keep:store"),
            asyncio.create_task(_keep(system, DATABASE, database), name="keep:database"),
        ]
        stack.push_async_callback(_cancelled, keepers)
        yield system


def _small_disks(
    stack: AsyncExitStack, data: DataFolder
) -> tuple[dict[str, SmallDisk], DataFolder]:
    """A disk for each store, and a data folder for the database: it moves its cluster about."""
    folder = data.path / DATABASE
    folder.mkdir(mode=0o700)
    disks = {
        STORE: SmallDisk(data.store_folder, STORE_MEGABYTES),
        DATABASE: SmallDisk(folder, DATABASE_MEGABYTES),
    }
    for disk in disks.values():
        stack.enter_context(disk)
    return disks, stack.enter_context(DataFolder(folder))


async def prepare_store(store: EmbeddedStore) -> None:
    """Its log is a witness: it is never rewritten. Again after each start."""
    async with Redis.from_url(store.url) as redis:
        await redis.config_set("auto-aof-rewrite-percentage", 0)


def _commands(system: System) -> dict[str, RoleCommand]:
    shape = system.shape
    commands = {
        PAYMENTS: _command(system, PAYMENTS, "simulate", "payments"),
        CARRIER: _command(system, CARRIER, "simulate", "carrier"),
        WEB: _command(system, WEB, "serve", "--ready-file", str(system.folder.path / "web.json")),
    }
    for n in range(shape.consumers):
        commands[f"consumer.{n}"] = _command(system, "consumer", "consume")
    for n in range(shape.workers):
        commands[f"worker.{n}"] = _command(system, "worker", "work")
    return commands


def _command(system: System, role: str, *arguments: str) -> RoleCommand:
    def through(link: str, url: str) -> str:
        return _with_port(url, system.links[link].port) if link in system.links else url

    environment = {
        **NO_LIMITS,
        **HASTY,
        **(THOROUGH if system.shape.points else {}),
        "FLASHORDER_DATA_DIR": str(system.folder.path),
        "FLASHORDER_HOST": LOOPBACK,
        "FLASHORDER_PORT": str(system.web_port),
        "FLASHORDER_WORKERS": str(system.shape.web_workers),
        "FLASHORDER_SHARDS": str(system.shape.shards),
        "FLASHORDER_REDIS_URL": through(f"{role}>store", system.store.url),
        "FLASHORDER_DATABASE_URL": through(f"{role}>database", system.database.url),
        "FLASHORDER_SERVICE_URL": through(f"{role}>web", system.direct_url),
        "PYTHONUNBUFFERED": "1",
        **_inside(system, role),
    }
    for name, url in system.simulator_urls.items():
        setting = {PAYMENTS: "PAYMENT", CARRIER: "CARRIER"}[name]
        environment[f"FLASHORDER_{setting}_SIMULATOR_URL"] = through(f"{role}>{name}", url)
    argv = (sys.executable, "-m", "flashorder.cli", *arguments)
    return RoleCommand(role, argv, environment, Path.cwd(), stop_timeout_seconds=15.0)


def _inside(system: System, role: str) -> dict[str, str]:
    """What has Python import ``inside/sitecustomize.py`` in a role, and what that is to do."""
    shape = system.shape
    if role in (PAYMENTS, CARRIER) or not (shape.points or shape.bug or shape.clocks):
        return {}
    told = {"PYTHONPATH": os.pathsep.join((str(INSIDE), str(INSIDE.parents[2])))}
    if shape.points:
        told |= {"CHAOS_POINTS": str(system.points_folder), "CHAOS_ROLE": role}
    if role in shape.clocks:
        told["CHAOS_CLOCK_SECONDS"] = str(shape.clocks[role])
    if shape.bug:
        told["CHAOS_BUG"] = shape.bug
    return told


def _link_names() -> list[str]:
    names = ["clients>web", "payments>web", "carrier>web", "web>payments"]
    names += ["worker>payments", "worker>carrier"]
    roles = (WEB, "consumer", "worker")
    return names + [f"{role}>{to}" for role in roles for to in (STORE, DATABASE)]


@dataclass(frozen=True, slots=True)
class _Address:
    """Asked at each connection: a store that is started again may have moved."""

    to: str
    ports: Mapping[str, int]
    store: EmbeddedStore
    database: EmbeddedDatabase

    def __call__(self) -> tuple[str, int]:
        servers = {STORE: self.store.port, DATABASE: self.database.port}
        port = servers[self.to] if self.to in servers else self.ports[self.to]
        assert port is not None
        return LOOPBACK, port


def _with_port(url: str, port: int) -> str:
    parts = urlsplit(url)
    credentials, at, _ = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{credentials}{at}{LOOPBACK}:{port}"))


async def _keep(system: System, name: str, server: EmbeddedStore | EmbeddedDatabase) -> None:
    """Start a store again whenever it has ended."""
    while True:
        if server.running:
            await server.wait()
            system.deaths[name] = system.deaths.get(name, 0) + 1
        try:
            await server.start()
            if isinstance(server, EmbeddedStore):
                await prepare_store(server)
        except (EmbeddedServerError, RedisError, OSError):
            await asyncio.sleep(RESTART_PAUSE_SECONDS)


async def _stop_roles(system: System) -> None:
    await asyncio.gather(*(role.stop() for role in system.roles.values()))


async def _cancelled(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _execute(database_url: str, statements: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(statements)
    finally:
        await connection.close()


def _is_session(pid: int) -> bool:
    """Whether a process of PostgreSQL serves a client, by the title that it gives itself."""
    try:
        title = " ".join(psutil.Process(pid).cmdline())
    except psutil.NoSuchProcess:
        return False
    return title.startswith(f"postgres: {ROLE} ")


def _children(pid: int) -> list[int]:
    try:
        return [each.pid for each in psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []
