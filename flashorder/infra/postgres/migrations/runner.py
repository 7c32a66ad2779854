"""Plain numbered .sql files, applied once each, under an advisory lock. See docs/adr/0002."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import resources

import asyncpg

from flashorder.infra.postgres.pool import database_failures
from flashorder.kernel.errors import Misconfigured

_LOCK = 0x464C4153_4F524452  # "FLASORDR"; any constant that nobody else uses
_LEDGER = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    version integer PRIMARY KEY,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""


@dataclass(frozen=True, slots=True)
class Migration:
    """``0004_orders.sql`` is version 4, name ``orders``."""

    version: int
    name: str
    statements: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the file, to notice one that was edited after it had been applied."""
        return hashlib.sha256(self.statements.encode()).hexdigest()


def shipped_migrations() -> list[Migration]:
    """The migrations that this version of flashorder brings, in order."""
    folder = resources.files(__package__)
    found = [
        Migration(int(name[:4]), name[5:-4], (folder / name).read_text(encoding="utf-8"))
        for name in sorted(entry.name for entry in folder.iterdir())
        if name.endswith(".sql")
    ]
    assert len({migration.version for migration in found}) == len(found), "a number is used twice"
    return found


async def migrate(dsn: str) -> list[Migration]:
    """Bring the database at ``dsn`` up to date; returns what was applied now, in order.

    Idempotent, and safe to run from several processes at once. Each migration is one transaction.
    Raises ``Misconfigured`` when an applied file was edited or the database is newer than the code.
    """
    with database_failures():
        connection = await asyncpg.connect(dsn, timeout=10)
        try:
            await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
            await connection.execute(_LEDGER)
            return await _apply_missing(connection)
        finally:
            await connection.close()


async def pending_migrations(dsn: str) -> list[Migration]:
    """The migrations that ``migrate`` would apply."""
    with database_failures():
        connection = await asyncpg.connect(dsn, timeout=10)
        try:
            if await connection.fetchval("SELECT to_regclass('schema_migrations')") is None:
                return shipped_migrations()
            rows = await connection.fetch("SELECT version FROM schema_migrations")
            applied = {row["version"] for row in rows}
            return [each for each in shipped_migrations() if each.version not in applied]
        finally:
            await connection.close()


async def _apply_missing(connection: asyncpg.Connection[asyncpg.Record]) -> list[Migration]:
    rows = await connection.fetch("SELECT version, checksum FROM schema_migrations")
    applied = {row["version"]: row["checksum"] for row in rows}
    shipped = shipped_migrations()
    unknown = set(applied) - {migration.version for migration in shipped}
    if unknown:
        raise Misconfigured(
            f"the database has migrations {sorted(unknown)} that this version does not know: "
            "run the newer flashorder, or restore the database that belongs to this one"
        )
    done: list[Migration] = []
    for migration in shipped:
        if migration.version in applied:
            if applied[migration.version] != migration.checksum:
                raise Misconfigured(
                    f"migration {migration.version:04} ({migration.name}) was edited after it had "
                    "been applied to this database: restore the file, and add a new migration"
                )
            continue
        async with connection.transaction():
            await connection.execute(migration.statements)
            await connection.execute(
                "INSERT INTO schema_migrations (version, name, checksum) VALUES ($1, $2, $3)",
                migration.version,
                migration.name,
                migration.checksum,
            )
        done.append(migration)
    return done
