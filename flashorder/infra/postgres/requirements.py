"""What the database must be like for a committed order to be safe."""

from __future__ import annotations

import asyncpg

from flashorder.infra.findings import Finding, Level, judge
from flashorder.infra.postgres.migrations import pending_migrations
from flashorder.infra.postgres.pool import database_failures
from flashorder.kernel.errors import Misconfigured

SUBJECT = "database"
VERSION_MIN = 150_000
_STATE = """
SELECT current_setting('server_version') AS version,
       current_setting('server_version_num')::integer AS version_number,
       current_setting('fsync') AS fsync,
       current_setting('full_page_writes') AS full_page_writes,
       current_setting('synchronous_commit') AS synchronous_commit,
       current_setting('server_encoding') AS encoding,
       current_setting('max_connections')::integer
           - current_setting('superuser_reserved_connections')::integer AS connections,
       pg_is_in_recovery() AS is_replica
"""


async def check_database(dsn: str, *, connections_wanted: int) -> list[Finding]:
    """Every finding on the database; raises ``DatabaseUnavailable`` when it is away.

    ``connections_wanted`` is what the pools of all roles together may open.
    """
    with database_failures():
        connection = await asyncpg.connect(dsn, timeout=5)
        try:
            state = await connection.fetchrow(_STATE)
        finally:
            await connection.close()
    assert state is not None, "a SELECT without FROM returns one row"
    return [
        judge(
            SUBJECT,
            "version",
            f"PostgreSQL {state['version']}",
            "run PostgreSQL 15 or later",
            holds=state["version_number"] >= VERSION_MIN,
        ),
        _switch("fsync", state["fsync"]),
        _switch("full_page_writes", state["full_page_writes"]),
        judge(
            SUBJECT,
            "synchronous_commit",
            f"synchronous_commit is {state['synchronous_commit']}",
            "ALTER SYSTEM SET synchronous_commit = on; SELECT pg_reload_conf(). The stream is "
            "trimmed below what was committed: a commit that a power cut undoes loses orders",
            holds=state["synchronous_commit"] != "off",
        ),
        judge(
            SUBJECT,
            "encoding",
            f"server_encoding is {state['encoding']}",
            "make a database with ENCODING 'UTF8'",
            holds=state["encoding"] == "UTF8",
        ),
        judge(
            SUBJECT,
            "connections",
            f"{state['connections']} to be had, the pools may open {connections_wanted}",
            "raise max_connections, or lower FLASHORDER_DATABASE_CONNECTIONS_MAX or "
            "FLASHORDER_WORKERS",
            holds=state["connections"] >= connections_wanted,
        ),
        judge(
            SUBJECT,
            "role",
            "standby" if state["is_replica"] else "primary",
            "this is a standby and refuses writes: name the primary in FLASHORDER_DATABASE_URL",
            holds=not state["is_replica"],
        ),
        await _migrations(dsn),
    ]


def _switch(name: str, value: str) -> Finding:
    return judge(
        SUBJECT,
        name,
        f"{name} is {value}",
        f"ALTER SYSTEM SET {name} = on; SELECT pg_reload_conf()",
        holds=value == "on",
    )


async def _migrations(dsn: str) -> Finding:
    try:
        pending = await pending_migrations(dsn)
    except Misconfigured as error:
        return Finding(SUBJECT, "migrations", Level.ERROR, error.detail, "see the line itself")
    names = ", ".join(f"{each.version:04}_{each.name}" for each in pending)
    return judge(
        SUBJECT,
        "migrations",
        f"not applied: {names}" if pending else "up to date",
        "run `flashorder migrate`",
        holds=not pending,
    )
