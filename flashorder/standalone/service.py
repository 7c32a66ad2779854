"""Start everything, tell when it is ready, keep it running, stop it in order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec
from pydantic import SecretStr

from flashorder.infra.embedded import DataFolder
from flashorder.infra.embedded.data_folder import write_private
from flashorder.infra.supervision import Console, RoleCommand, RoleLog, SupervisedRole
from flashorder.kernel.errors import FlashorderError
from flashorder.settings import Settings
from flashorder.standalone.addresses import Addresses, choose_addresses
from flashorder.standalone.probe import until_ok
from flashorder.standalone.ready import READY_FILE, ReadyState, require_writable
from flashorder.standalone.roles import (
    CARRIER_SIMULATOR,
    CONSUMER,
    PAYMENT_SIMULATOR,
    WEB,
    WORKER,
    service_commands,
    simulator_commands,
)
from flashorder.standalone.showing import Rebuild, until_shown
from flashorder.standalone.stores import Stores

if TYPE_CHECKING:
    from flashorder.standalone.demonstration import Demonstration

READY_TIMEOUT_SECONDS = 60.0
READY_POLL_SECONDS = 0.02
WEB_FILE = "web.json"
WEB_FILE_POLL_SECONDS = 0.2
T = TypeVar("T")


class WebState(msgspec.Struct):
    """What ``flashorder serve --ready-file`` writes."""

    pid: int
    workers: list[int]


@dataclass(frozen=True, slots=True)
class Options:
    """What ``flashorder up`` was asked for."""

    workers: int
    demonstration: bool
    autopilot: bool
    ready_file: Path | None = None


class Standalone:
    """The whole service; ``folder`` is open. ``stop`` may be called at any time, even twice."""

    def __init__(
        self,
        settings: Settings,
        folder: DataFolder,
        console: Console,
        options: Options,
        rebuild: Rebuild,
    ) -> None:
        self._settings = settings
        self._folder = folder
        self._console = console
        self._options = options
        self._rebuild = rebuild
        self._stores = Stores(settings, folder, console, self._told_again)
        self._addresses: Addresses | None = None
        self._roles: list[SupervisedRole] = []
        self._told: list[Path] = []
        self._watch: asyncio.Task[None] | None = None

    def check(self) -> None:
        """What every role would stumble over, told once. Raises ``Misconfigured``."""
        _ = self._settings.seed
        if self._options.ready_file is not None:
            require_writable(self._options.ready_file)

    async def start(self) -> tuple[ReadyState, Demonstration | None]:
        """Return once ``/readyz`` holds and the demonstration's sale is shown, or was given up.

        Raises ``Misconfigured``, ``EmbeddedServerError``, ``RoleFailed``; the caller then stops.
        """
        for path in (self._state_path(), self._web_file()):
            path.unlink(missing_ok=True)
        self._addresses = choose_addresses(self._settings)
        for command in simulator_commands(self._settings, self._addresses):
            self._run(command)
        await self._stores.start()
        settings = self._settings_for_us(self._addresses)
        await _migrate(settings.required_database_url())
        for command in service_commands(
            settings,
            self._addresses,
            self._stores,
            workers=self._options.workers,
            web_file=self._web_file(),
            autopilot=self._options.autopilot,
        ):
            self._run(command)
        demonstration, _ = await self._unless_a_role_fails(
            asyncio.gather(self._prepare(settings), self._until_ready(self._addresses))
        )
        # Other commands find the stores by it: they may be what mends a sale that is not shown.
        self._tell(self._state_path())
        if demonstration is not None:
            shown = until_shown(
                settings,
                self._addresses.url,
                demonstration.sale_id,
                rebuild=self._rebuild if self._stores.store_is_ours else None,
                say=lambda text: self._console.say("up", text),
            )
            await self._unless_a_role_fails(shown)
        for role in self._roles:
            role.proven()
        if self._options.ready_file is not None:
            self._tell(self._options.ready_file)
        self._watch = asyncio.create_task(self._watch_web_workers(), name="watch:web")
        return self.state(), demonstration

    async def stop(self) -> None:
        """Web first, so that what was accepted is still taken further; the stores last."""
        self._told.clear()
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.wait({self._watch})
        self._state_path().unlink(missing_ok=True)
        by_name = {role.command.name: role for role in self._roles}
        for names in ((WEB,), (CONSUMER,), (WORKER,), (PAYMENT_SIMULATOR, CARRIER_SIMULATOR)):
            await asyncio.gather(*(by_name[name].stop() for name in names if name in by_name))
        await self._stores.stop()

    def hurry(self) -> None:
        """Whatever a stop is waiting for, do not wait for it."""
        for role in self._roles:
            role.hurry()
        self._stores.hurry()

    def state(self) -> ReadyState:
        """Addresses and process ids as they are now."""
        assert self._addresses is not None, "asked before the start"
        by_name = {role.command.name: role.pid for role in self._roles}
        web = by_name.get(WEB)
        pids: dict[str, int | list[int] | None] = {
            WEB: self._web_pids(web) if web else [],
            CONSUMER: by_name.get(CONSUMER),
            WORKER: by_name.get(WORKER),
            **self._stores.pids(),
            PAYMENT_SIMULATOR: by_name.get(PAYMENT_SIMULATOR),
            CARRIER_SIMULATOR: by_name.get(CARRIER_SIMULATOR),
        }
        return ReadyState(
            url=self._addresses.url,
            redis_url=self._stores.redis_url,
            database_url=self._stores.database_url,
            simulator_url=self._addresses.payment_simulator_url,
            carrier_url=self._addresses.carrier_simulator_url,
            pids=pids,
        )

    def _run(self, command: RoleCommand) -> None:
        log = RoleLog(self._folder.log_folder, command.name, self._console)
        role = SupervisedRole(command, log, self._console, self._told_again)
        self._roles.append(role)
        role.start()

    def _settings_for_us(self, addresses: Addresses) -> Settings:
        return self._settings.model_copy(
            update={
                "redis_url": SecretStr(self._stores.redis_url),
                "database_url": SecretStr(self._stores.database_url),
                "port": addresses.port,
            }
        )

    async def _prepare(self, settings: Settings) -> Demonstration | None:
        # Imported when the roles have been started: their imports and ours go side by side.
        from flashorder.standalone.demonstration import (  # noqa: PLC0415
            import_shipped_catalogue,
            prepare_demonstration,
        )

        if self._options.demonstration:
            return await prepare_demonstration(settings)
        await import_shipped_catalogue(settings)
        return None

    async def _until_ready(self, addresses: Addresses) -> None:
        urls = [f"{addresses.url}/readyz"]
        if addresses.payment_simulator_port:
            urls.append(f"{addresses.payment_simulator_url}/healthz")
        if addresses.carrier_simulator_port:
            urls.append(f"{addresses.carrier_simulator_url}/healthz")
        try:
            async with asyncio.timeout(READY_TIMEOUT_SECONDS):
                await asyncio.gather(*(until_ok(url) for url in urls), self._until_all_workers())
        except TimeoutError:
            raise FlashorderError(
                f"the service was not ready within {READY_TIMEOUT_SECONDS:.0f} s; its words are in "
                f"{self._folder.log_folder}"
            ) from None

    async def _unless_a_role_fails(self, work: Awaitable[T]) -> T:
        working = asyncio.ensure_future(work)
        watches = {asyncio.create_task(role.failed.wait()): role for role in self._roles}
        try:
            done, _ = await asyncio.wait({working, *watches}, return_when=asyncio.FIRST_COMPLETED)
            for watch, role in watches.items():
                if watch in done:
                    raise role.failure()
            return working.result()
        finally:
            for task in (working, *watches):
                task.cancel()
            await asyncio.gather(working, *watches, return_exceptions=True)

    def _told_again(self) -> None:
        """A pid has changed: whoever reads the file finds the new one."""
        for path in self._told:
            self._write_state(path)

    def _tell(self, path: Path) -> None:
        """Write the state to ``path``, now and whenever it changes."""
        self._told.append(path)
        self._write_state(path)

    def _write_state(self, path: Path) -> None:
        try:
            write_private(path, msgspec.json.encode(self.state()) + b"\n")
        except OSError as error:
            self._console.say("up", f"{path} cannot be written: {error.strerror}")

    async def _until_all_workers(self) -> None:
        """``/readyz`` is answered by the first worker that is up; the file names all of them."""
        while not self._web_file().exists():  # noqa: ASYNC110 - written by another process
            await asyncio.sleep(READY_POLL_SECONDS)

    def _web_pids(self, pid: int) -> list[int]:
        """The processes that answer; ``serve`` tells of each that it starts again."""
        try:
            told = msgspec.json.decode(self._web_file().read_bytes(), type=WebState)
        except (OSError, msgspec.MsgspecError):
            return [pid]
        return told.workers if told.pid == pid else [pid]

    async def _watch_web_workers(self) -> None:
        """``serve`` replaces a dead worker on its own; its file is how we hear of it."""
        seen = 0
        while True:
            try:
                changed = self._web_file().stat().st_mtime_ns
            except OSError:
                changed = seen
            if changed != seen:
                seen = changed
                self._told_again()
            await asyncio.sleep(WEB_FILE_POLL_SECONDS)

    def _web_file(self) -> Path:
        return self._folder.path / WEB_FILE

    def _state_path(self) -> Path:
        return self._folder.path / READY_FILE


async def _migrate(dsn: str) -> None:
    from flashorder.infra.postgres.migrations import migrate  # noqa: PLC0415 - heavy

    await migrate(dsn)
