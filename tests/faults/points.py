"""Fail points at every I/O boundary of a role, from within its process and outside of its code.

The three libraries that all I/O goes through are wrapped: redis-py's connection, asyncpg's
connection, aiohttp's client. At each call the place in the service that made it is told once in
``sites``; and if ``armed`` names this place, one process takes it and dies before the call, dies
after it, or is told that the reply is lost although the call was done.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Any

SITES_FILE = "sites"
ARMED_FILE = "armed"
FIRED_FILE = "fired"
KILLED = 137
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


class Points:
    """The fail points of this process."""

    def __init__(self, folder: Path, role: str) -> None:
        self._role = role
        self._sites = folder / SITES_FILE
        self._armed = folder / ARMED_FILE
        self._fired = folder / FIRED_FILE
        self._known: set[str] = set()

    def strikes(self, site: str, *modes: Mode) -> Mode | None:
        """The mode that this call is to meet, if any; whoever asks first has it."""
        if site not in self._known:
            self._known.add(site)
            _append(self._sites, f"{site}\n")
        try:
            armed_site, _, mode = self._armed.read_text(encoding="utf-8").partition("|")
        except OSError:
            return None
        if armed_site != site or mode not in modes:
            return None
        try:
            self._armed.rename(self._fired)
        except OSError:  # another process was faster
            return None
        return Mode(mode)

    def site(self, library: str) -> str:
        """Who in the service is calling: the innermost frame that is not only passing on."""
        frame = sys._getframe(2)
        while frame is not None:
            name = frame.f_code.co_filename
            if _SERVICE in name:
                place = name.rpartition(_SERVICE)[2]
                if not place.startswith(_PASSED_ON):
                    where = f"{place}:{frame.f_code.co_name}:{frame.f_lineno}"
                    return f"{self._role} {library} {where}"
            if frame.f_back is None:
                break
            frame = frame.f_back
        return f"{self._role} {library} elsewhere"


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
            site = points.site("postgres")
            if points.strikes(site, Mode.BEFORE):
                die()
            reply = await call(self, *args, **kwargs)
            if _reply_is_lost(points, site):
                self.terminate()
                raise ConnectionDoesNotExistError("the reply was lost")
            return reply

        return around

    for name in ("execute", "executemany", "fetch", "fetchrow", "fetchval"):
        _replace(Connection, name, wrapped(getattr(Connection, name)))


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
