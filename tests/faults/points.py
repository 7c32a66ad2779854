"""Fail points at every I/O boundary of a role, from within its process and outside of its code.

The three libraries that all I/O goes through are wrapped: redis-py's connection, asyncpg's
connection, aiohttp's client. At each call the place in the service that made it is told once in
``sites``; and if ``armed`` has a file of this point's name, one process takes it and dies before
the call, dies after it, or is told that the reply is lost although the call was done.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Any

SITES_FILE = "sites"
ARMED, FIRED = "armed", "fired"
KILLED = 137
# What a pool does with a connection that is given back: no step of the service.
RESET = "SELECT pg_advisory_unlock_all()"
_SERVICE = f"{os.sep}flashorder{os.sep}"
# Places that pass on what others ask for; the one who asked is the site.
_PASSED_ON = ("infra/redis/", "infra/postgres/", "reservations/line.py", "cli/", "app/")


class Mode(StrEnum):
    """What happens at an armed site."""

    BEFORE = "before"
    """The process dies before the call has left."""
    AFTER = "after"
    """The process dies when the call is done, and before anybody knows."""
    LOST = "reply lost"
    """The call is done, its reply lost with the connection; the process lives."""


def file_of(point: str) -> str:
    """The name of the file that arms ``site|mode``."""
    return hashlib.blake2b(point.encode(), digest_size=16).hexdigest()


class Points:
    """The fail points of this process."""

    def __init__(self, folder: Path, role: str) -> None:
        self._role = role
        self._sites = folder / SITES_FILE
        self._folder = folder
        self._known: set[str] = set()

    def strikes(self, site: str, *modes: Mode) -> Mode | None:
        """The mode that this call is to meet, if any; whoever asks first has it."""
        if site not in self._known:
            self._known.add(site)
            _append(self._sites, f"{site}\n")
        for mode in modes:
            name = file_of(f"{site}|{mode}")
            with suppress(OSError):  # not armed, or another process was faster
                (self._folder / ARMED / name).rename(self._folder / FIRED / name)
                return mode
        return None

    def site(self, library: str, step: str = "") -> str:
        """Who in the service is calling: the innermost frame that is not only passing on.

        ``step`` tells apart what one line does, as the beginning and the end of a transaction.
        """
        frame = sys._getframe(2)
        while frame is not None:
            name = frame.f_code.co_filename
            if _SERVICE in name:
                place = name.rpartition(_SERVICE)[2]
                if not place.startswith(_PASSED_ON):
                    where = f"{place}:{frame.f_code.co_name}:{frame.f_lineno}"
                    return f"{self._role} {library} {where}{step}"
            if frame.f_back is None:
                break
            frame = frame.f_back
        return f"{self._role} {library} elsewhere{step}"


def install(folder: Path, role: str) -> None:
    """Wrap the libraries of this process."""
    points = Points(folder, role)
    _install_redis(points)
    _install_postgres(points)
    _install_http(points)


def die() -> None:
    """As ``kill -9`` would: no handler, no flush, no good-bye."""
    os._exit(KILLED)


def _reply_is_lost(points: Points, site: str) -> bool:
    """Whether the reply is to be lost; where the process is to die after it, this is its end."""
    struck = points.strikes(site, Mode.AFTER, Mode.LOST)
    if struck is Mode.AFTER:
        die()
    return struck is Mode.LOST


def _install_redis(points: Points) -> None:
    from redis.asyncio.connection import AbstractConnection
    from redis.exceptions import ConnectionError as RedisConnectionError

    send, read = AbstractConnection.send_packed_command, AbstractConnection.read_response

    async def send_packed_command(self: Any, *args: Any, **kwargs: Any) -> None:
        if points.strikes(points.site("redis"), Mode.BEFORE):
            die()
        await send(self, *args, **kwargs)

    async def read_response(self: Any, *args: Any, **kwargs: Any) -> Any:
        site = points.site("redis")
        reply = await read(self, *args, **kwargs)
        if _reply_is_lost(points, site):
            await self.disconnect(nowait=True)
            raise RedisConnectionError("the reply was lost")
        return reply

    _replace(AbstractConnection, "send_packed_command", send_packed_command)
    _replace(AbstractConnection, "read_response", read_response)


def _install_postgres(points: Points) -> None:
    from asyncpg import Connection, ConnectionDoesNotExistError

    def wrapped(call: Callable[..., Any]) -> Callable[..., Any]:
        async def around(self: Any, *args: Any, **kwargs: Any) -> Any:
            query = str(args[0]) if args else ""
            if query.startswith(RESET):
                return await call(self, *args, **kwargs)
            site = points.site("postgres", _step(query))
            if points.strikes(site, Mode.BEFORE):
                die()
            reply = await call(self, *args, **kwargs)
            if _reply_is_lost(points, site):
                self.terminate()
                raise ConnectionDoesNotExistError("the reply was lost")
            return reply

        return around

    for name in ("execute", "executemany", "fetch", "fetchmany", "fetchrow", "fetchval"):
        _replace(Connection, name, wrapped(getattr(Connection, name)))


def _step(query: str) -> str:
    """What a transaction does at the line that opens it."""
    word = query.split(None, 1)[0].rstrip(";").upper() if query else ""
    return f" {word}" if word in ("BEGIN", "COMMIT", "ROLLBACK") else ""


def _install_http(points: Points) -> None:
    from aiohttp import ClientSession, ServerDisconnectedError

    request = ClientSession._request

    async def around(self: Any, *args: Any, **kwargs: Any) -> Any:
        site = points.site("http")
        if points.strikes(site, Mode.BEFORE):
            die()
        answer = await request(self, *args, **kwargs)
        if _reply_is_lost(points, site):
            answer.close()
            raise ServerDisconnectedError("the reply was lost")
        return answer

    _replace(ClientSession, "_request", around)


def _replace(owner: type, name: str, call: Callable[..., Any]) -> None:
    setattr(owner, name, call)


def _append(path: Path, line: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)
