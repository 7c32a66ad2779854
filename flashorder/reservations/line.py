"""A connection that runs one script, a call at a time, for hundreds of arguments each.

redis-py's client packs a command argument by argument in Python, 3 µs a purchase; hiredis packs the
same bytes for half a µs. Its pool locks, counts and announces each taking of a connection, and its
time-out makes a task for each write: together a tenth of a millisecond a batch. So the connection
is kept, and has one time-out around the whole call. The rest is redis-py's: it connects, signs in,
speaks TLS, reads, and disconnects when a command is broken off.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from hiredis import pack_command
from redis.asyncio import Redis
from redis.exceptions import NoScriptError
from redis.exceptions import TimeoutError as RedisTimeoutError

from flashorder.infra.redis.scripts import Script


class ScriptLine:
    """``send`` a call, then ``receive`` its reply. Raises what redis-py raises.

    A call whose reply was not received may have been executed or not. The time-out is that of
    ``redis``; after a failure the next ``send`` connects again. Nothing is sent on a connection
    before ``greet`` has returned: what it raises ends the connection.
    """

    def __init__(
        self, redis: Redis, script: Script, greet: Callable[[ScriptLine], Awaitable[None]]
    ) -> None:
        self._pool: Any = redis.connection_pool  # not typed throughout
        self._script = script
        self._redis = redis
        self._greet = greet
        self._timeout_seconds: float | None = self._pool.connection_kwargs.get("socket_timeout")
        self._connection: Any = None
        self._packed = b""

    async def send(
        self, keys: Sequence[str | bytes], args: Sequence[str | bytes | int], *, idle: bool
    ) -> None:
        """Call the script; ``idle`` says that the connection may have been lost unnoticed."""
        command: Any = ("EVALSHA", self._script.sha, len(keys), *keys, *args)
        self._packed = pack_command(command)
        if idle or not self._connection.is_connected:  # or else redis-py would connect by itself
            await self.open()
        await self._bounded(self._connection.send_packed_command(self._packed))

    async def receive(self) -> Any:
        """The reply to what was sent; a store that does not know the script is taught it first."""
        try:
            return await self._bounded(self._connection.read_response())
        except NoScriptError:  # so nothing was executed
            await self._redis.script_load(self._script.source)
            await self._bounded(self._connection.send_packed_command(self._packed))
            return await self._bounded(self._connection.read_response())

    async def ask(
        self, script: Script, keys: Sequence[str | bytes], args: Sequence[str | bytes | int]
    ) -> Any:
        """Run another script, on this very connection; between two calls, or in ``greet``."""
        call: Any = ("EVALSHA", script.sha, len(keys), *keys, *args)
        lesson: Any = ("SCRIPT", "LOAD", script.source)
        try:
            return await self._exchange(pack_command(call))
        except NoScriptError:
            await self._exchange(pack_command(lesson))
            return await self._exchange(pack_command(call))

    async def close(self) -> None:
        """Give the connection up."""
        if self._connection is not None:
            await self._connection.disconnect(nowait=True)

    async def open(self) -> None:
        """Have a connection that was not closed in the meantime, as an idle one may be."""
        if self._connection is None:
            self._connection = self._pool.make_connection()
            self._connection.socket_timeout = None  # there is one around each step
        if self._connection.is_connected:
            if not await self._connection.can_read():
                return  # neither its end nor anything unasked has come in
            await self._connection.disconnect(nowait=True)
        await self._bounded(self._connection.connect())
        try:
            await self._greet(self)
        except BaseException:
            await self.close()
            raise

    async def _exchange(self, packed: bytes) -> Any:
        await self._bounded(self._connection.send_packed_command(packed))
        return await self._bounded(self._connection.read_response())

    async def _bounded(self, step: Any) -> Any:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await step
        except TimeoutError as error:
            await self.close()
            raise RedisTimeoutError("the store took too long") from error
