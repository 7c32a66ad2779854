"""Fail points in a real process against real stores: what is done, and who knows of it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest
from redis.asyncio import Redis

from tests.faults.points import ARMED, FIRED, KILLED, SITES_FILE, Mode, file_of
from tests.faults.system import INSIDE
from tests.faults.walk import Walk

# Connects first, so that what is armed is met by the call itself.
PROGRAMS = {
    "redis": """
import asyncio, os, sys
from redis.asyncio import Redis
async def main():
    async with Redis.from_url(sys.argv[1]) as redis:
        await redis.ping()
        os.rename(sys.argv[2] + "/ready", sys.argv[2] + "/armed/" + sys.argv[3])
        await redis.incr("done")
asyncio.run(main())
""",
    "postgres": """
import asyncio, os, sys, asyncpg
async def main():
    connection = await asyncpg.connect(sys.argv[1])
    os.rename(sys.argv[2] + "/ready", sys.argv[2] + "/armed/" + sys.argv[3])
    await connection.execute("INSERT INTO done VALUES (1)")
asyncio.run(main())
""",
}


@pytest.fixture(params=["redis", "postgres"])
def library(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def _times_done(library: str, redis_url: str, database_url: str) -> int:
    if library == "redis":
        async with Redis.from_url(redis_url) as redis:
            return int(await redis.get("done") or 0)
    connection = await asyncpg.connect(database_url)
    try:
        return int(await connection.fetchval("SELECT count(*) FROM done"))
    finally:
        await connection.close()


@pytest.mark.parametrize(
    ("mode", "done", "exit_code"),
    [(Mode.BEFORE, 0, KILLED), (Mode.AFTER, 1, KILLED), (Mode.LOST, 1, 1)],
)
async def test_a_point_strikes_once_where_it_says(
    redis_url: str,
    database_url: str,
    tmp_path: Path,
    library: str,
    mode: Mode,
    done: int,
    exit_code: int,
) -> None:
    connection = await asyncpg.connect(database_url)
    await connection.execute("CREATE TABLE done (n integer)")
    await connection.close()
    point = f"role {library} elsewhere|{mode}"
    for name in (ARMED, FIRED):
        (tmp_path / name).mkdir()
    (tmp_path / "ready").touch()
    url = redis_url if library == "redis" else database_url
    ended = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", PROGRAMS[library], url, str(tmp_path), file_of(point)],
        env={
            **os.environ,
            "PYTHONPATH": f"{INSIDE}{os.pathsep}{INSIDE.parents[2]}",
            "CHAOS_POINTS": str(tmp_path),
            "CHAOS_ROLE": "role",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == exit_code, ended.stderr
    if mode is Mode.LOST:
        assert "the reply was lost" in ended.stderr
    assert await _times_done(library, redis_url, database_url) == done
    assert (tmp_path / FIRED / file_of(point)).exists()
    assert not (tmp_path / ARMED / file_of(point)).exists()
    assert f"role {library} elsewhere" in (tmp_path / SITES_FILE).read_text().splitlines()


def test_a_role_without_the_switch_has_no_points() -> None:
    """Free in production: nothing of it is imported."""
    program = "import sys, flashorder.app.web; print('tests' in sys.modules)"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    told = subprocess.run(
        [sys.executable, "-c", program],
        cwd=INSIDE.parents[2],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout == "False\n"


def test_the_parts_of_a_walk_are_all_points_once(tmp_path: Path) -> None:
    (tmp_path / SITES_FILE).write_text("b\na\nb\nc\n")
    parts = [Walk(tmp_path, seed=1, part=n, parts=4).points() for n in range(4)]
    together = [point for part in parts for point in part]
    assert len(together) == 3 * len(Mode)
    assert set(together) == {f"{site}|{mode}" for site in "abc" for mode in Mode}
    # What is seen later moves no point to another part.
    (tmp_path / SITES_FILE).write_text("a\nd\nb\ne\nc\n")
    for n, part in enumerate(parts):
        assert set(part) <= set(Walk(tmp_path, seed=2, part=n, parts=4).points())
