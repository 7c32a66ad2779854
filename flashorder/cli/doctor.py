"""``flashorder doctor``: what is wrong with the machine and the stores, and how to mend it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict
from typing import Any
from urllib.parse import urlsplit

import typer
from pydantic import SecretStr

from flashorder.cli.output import JsonOption, print_json
from flashorder.cli.running import command_settings
from flashorder.infra.findings import Finding, Level
from flashorder.kernel.errors import Misconfigured, Unavailable
from flashorder.settings import Settings

_MASK = "••••"
_STYLES = {Level.OK: "green", Level.WARNING: "yellow", Level.ERROR: "bold red"}


def register(root: typer.Typer) -> None:
    """Add the command."""
    root.command("doctor")(doctor)


def doctor(json: JsonOption = False) -> None:
    """Say what is wrong with the machine and the stores' configuration, and how to mend it."""
    settings = command_settings()
    findings = asyncio.run(examine(settings))
    if json:
        print_json({"findings": [asdict(each) for each in findings], "settings": masked(settings)})
    else:
        _print(findings, settings)
    if any(each.level is Level.ERROR for each in findings):
        raise typer.Exit(1)


async def examine(settings: Settings) -> list[Finding]:
    """Every finding; a store that is away is one of them."""
    from flashorder.infra.machine import check_machine  # noqa: PLC0415 - heavy

    machine = await asyncio.to_thread(check_machine, settings.data_dir, settings.connections_max)
    store, database = await asyncio.gather(_store(settings), _database(settings))
    return [*machine, *_ports(settings), *store, *database]


def masked(settings: Settings) -> dict[str, Any]:
    """The settings in force; of secrets only whether there is one, of URLs all but the password."""
    return {name: _shown(getattr(settings, name)) for name in type(settings).model_fields}


def _shown(value: Any) -> Any:
    if not isinstance(value, SecretStr):
        return value if isinstance(value, int | float | None) else str(value)
    parts = urlsplit(value.get_secret_value())
    if not parts.scheme or not parts.netloc:
        return _MASK
    host = parts.netloc.rpartition("@")[2]
    login = f"{parts.username or ''}:{_MASK}@" if parts.password else ""
    return parts._replace(netloc=f"{login}{host}", query="").geturl()


def _ports(settings: Settings) -> list[Finding]:
    from flashorder.infra.machine import check_port  # noqa: PLC0415 - heavy
    from flashorder.standalone.ready import running_state  # noqa: PLC0415

    if running_state(settings) is not None:
        return [Finding("machine", "ports", Level.OK, "held by the running `flashorder up`")]
    wanted = [(settings.host, settings.port, "FLASHORDER_PORT")]
    for name in ("payment_simulator_url", "carrier_simulator_url"):
        parts = urlsplit(getattr(settings, name))
        if parts.hostname in ("127.0.0.1", "localhost") and parts.port:
            wanted.append(("127.0.0.1", parts.port, f"FLASHORDER_{name.upper()}"))
    return [check_port(*each) for each in wanted]


async def _store(settings: Settings) -> list[Finding]:
    if settings.redis_url is None:
        return await _embedded("store", "FLASHORDER_REDIS_URL")
    from flashorder.infra.advisories import check_advisories  # noqa: PLC0415 - heavy
    from flashorder.infra.machine import check_clock  # noqa: PLC0415 - heavy
    from flashorder.infra.redis.connection import connect_redis, store_failures  # noqa: PLC0415
    from flashorder.infra.redis.requirements import check_store  # noqa: PLC0415 - heavy

    try:
        redis = connect_redis(settings.redis_url.get_secret_value())
    except Misconfigured as error:
        return [_wrong_url("store", "FLASHORDER_REDIS_URL", error)]
    try:
        findings = await check_store(redis)
        with store_failures():
            server = await redis.info("server")
            before = time.time()
            seconds, microseconds = await redis.time()
            middle = (before + time.time()) / 2
    except Unavailable as error:
        return [_away("store", "FLASHORDER_REDIS_URL", error)]
    finally:
        await redis.aclose()
    version = str(server.get("valkey_version") or server.get("redis_version", ""))
    return [
        *findings,
        check_advisories("store", "valkey" if "valkey_version" in server else "redis", version),
        check_clock("store", _whole_ms(seconds + microseconds / 1e6 - middle)),
    ]


async def _database(settings: Settings) -> list[Finding]:
    if settings.database_url is None:
        return await _embedded("database", "FLASHORDER_DATABASE_URL")
    import asyncpg  # noqa: PLC0415 - heavy

    from flashorder.infra.advisories import check_advisories  # noqa: PLC0415 - heavy
    from flashorder.infra.machine import check_clock  # noqa: PLC0415 - heavy
    from flashorder.infra.postgres.pool import database_failures  # noqa: PLC0415
    from flashorder.infra.postgres.requirements import check_database  # noqa: PLC0415

    dsn = settings.database_url.get_secret_value()
    from flashorder.consumer.service import connections_wanted  # noqa: PLC0415 - heavy

    # A pool for each web worker and one for the worker; the consumer's has a size of its own.
    wanted = (settings.workers + 1) * settings.database_connections_max
    wanted += connections_wanted(settings.shards)
    try:
        findings = await check_database(dsn, connections_wanted=wanted)
        with database_failures():
            connection = await asyncpg.connect(dsn, timeout=5)
            version: str = await connection.fetchval("SHOW server_version")
            before = time.time()
            now: float = await connection.fetchval(
                "SELECT extract(epoch FROM clock_timestamp())::float8"
            )
            middle = (before + time.time()) / 2
            await connection.close()
    except (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError) as why:
        return [_wrong_url("database", "FLASHORDER_DATABASE_URL", why)]
    except ValueError as error:
        return [_wrong_url("database", "FLASHORDER_DATABASE_URL", error)]
    except Unavailable as error:
        return [_away("database", "FLASHORDER_DATABASE_URL", error)]
    return [
        *findings,
        check_advisories("database", "postgresql", version),
        check_clock("database", _whole_ms(now - middle)),
    ]


def _whole_ms(seconds: float) -> int:
    """Rounded: a float would be printed as "-0" where there is hardly a difference."""
    return round(seconds * 1000)


async def _embedded(subject: str, setting: str) -> list[Finding]:
    """No URL is set and no ``up`` runs: would it find a server program?"""
    from flashorder.infra.advisories import Server, check_advisories  # noqa: PLC0415 - heavy
    from flashorder.infra.embedded import EmbeddedServerError  # noqa: PLC0415 - heavy
    from flashorder.infra.embedded.binaries import (  # noqa: PLC0415
        find_database_binaries,
        find_store_binary,
    )

    server: Server = "postgresql"
    try:
        if subject == "store":
            found = await find_store_binary()
            server = "redis" if "redis" in found.path.name else "valkey"
        else:
            found = (await find_database_binaries()).postgres
    except EmbeddedServerError as error:
        return [Finding(subject, "server", Level.ERROR, f"{setting} is not set", error.detail)]
    detail = f"not running; `flashorder up` will start {found.version} of {found.source}"
    return [
        Finding(subject, "server", Level.OK, detail),
        check_advisories(subject, server, found.version),
    ]


def _away(subject: str, setting: str, error: Unavailable) -> Finding:
    why = error.__cause__ or error
    mend = f"start it, or correct {setting}"
    return Finding(subject, "reachable", Level.ERROR, f"{error.detail} ({why})", mend)


def _wrong_url(subject: str, setting: str, error: Exception) -> Finding:
    return Finding(subject, "reachable", Level.ERROR, str(error), f"correct {setting}")


def _print(findings: list[Finding], settings: Settings) -> None:
    from rich.console import Console  # noqa: PLC0415 - heavy
    from rich.markup import escape  # noqa: PLC0415

    console = Console(soft_wrap=True)
    for each in findings:
        style = _STYLES[each.level]
        line = f"{each.subject:<9} {each.name:<24} {escape(each.detail)}"
        console.print(f"[{style}]{each.level:<8}[/{style}] {line}", highlight=False)
        if each.mend:
            console.print(f"{'':<9}[italic]mend: {escape(each.mend)}[/italic]", highlight=False)
    console.print("\nSettings in force (FLASHORDER_…):", highlight=False)
    for name, value in masked(settings).items():
        shown = "not set" if value is None else str(value)
        console.print(f"  {name.upper():<36} {escape(shown)}", highlight=False)
