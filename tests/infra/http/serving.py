"""A real server on a free port for the tests of the mechanism, and a raw client for bad manners."""

from __future__ import annotations

import asyncio
import socket
import uuid
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
from pydantic import SecretStr

from flashorder.infra.http.application import build_application
from flashorder.infra.http.endpoint import Endpoint, Role
from flashorder.infra.http.idempotency import IdempotencyStore
from flashorder.infra.http.listening import Listening
from flashorder.infra.http.operations import Check
from flashorder.infra.http.server import serve
from flashorder.infra.http.tokens import Authenticator, TokenSigner
from flashorder.infra.telemetry.metrics import Metrics
from flashorder.settings import Settings


def make_settings(**overrides: Any) -> Settings:
    """Settings with a fixed secret; nothing is read from the environment of the machine."""
    # Fewer connections than any machine's open files leave room for.
    defaults = {"connections_max": 100}
    return Settings(secret=SecretStr("test"), port=0, **{**defaults, **overrides})


@dataclass
class Served:
    """A server that is up."""

    settings: Settings
    listening: Listening
    client: aiohttp.ClientSession
    signer: TokenSigner
    authenticator: Authenticator
    stopping: asyncio.Event
    server: asyncio.Task[None]

    @property
    def url(self) -> str:
        return self.listening.url

    def bearer(
        self, role: Role = Role.SHOPPER, account_id: uuid.UUID | None = None
    ) -> dict[str, str]:
        """An Authorization header."""
        token = self.signer.sign(account_id or uuid.uuid4(), role, uuid.uuid4().hex)
        return {"Authorization": f"Bearer {token}"}

    async def raw(self, data: bytes, *, timeout_seconds: float = 5.0) -> bytes:
        """Everything that the server says to ``data`` until it closes the connection."""
        reader, writer = await self.connect()
        try:
            writer.write(data)
            async with asyncio.timeout(timeout_seconds):
                return await reader.read()
        finally:
            writer.close()

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A bare connection."""
        return await asyncio.open_connection(self.listening.host, self.listening.port)


@asynccontextmanager
async def served(
    endpoints: Iterable[Endpoint],
    *,
    settings: Settings | None = None,
    idempotency: IdempotencyStore | None = None,
    checks: Mapping[str, Check] | None = None,
    metrics: Metrics | None = None,
    authenticator: Authenticator | None = None,
    shared: socket.socket | None = None,
) -> AsyncIterator[Served]:
    """Serve ``endpoints`` as a web role does, on ``shared`` if there is one."""
    settings = settings or make_settings()
    authenticator = authenticator or Authenticator.of(settings)
    app = build_application(
        endpoints,
        settings=settings,
        authenticator=authenticator,
        idempotency=idempotency,
        checks=checks,
        metrics=metrics,
    )
    stopping = asyncio.Event()
    ready: asyncio.Future[Listening] = asyncio.get_running_loop().create_future()
    server = asyncio.create_task(
        serve(app, settings, stopping, shared=shared, on_ready=ready.set_result)
    )
    try:
        await asyncio.wait({server, ready}, return_when=asyncio.FIRST_COMPLETED)
        listening = ready.result() if ready.done() else server.result()
        assert listening is not None
        async with aiohttp.ClientSession(listening.url) as client:
            signer = TokenSigner.of(settings)
            yield Served(settings, listening, client, signer, authenticator, stopping, server)
    finally:
        stopping.set()
        await server
