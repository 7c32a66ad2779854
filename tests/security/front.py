"""``flashorder serve`` in a process of its own, with an open sale, and bare connections to it.

Nobody consumes: what was bought stays in the stream, so the stream tells how many purchases ran.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import aiohttp
import psutil
from pydantic import SecretStr
from redis.asyncio import Redis

from flashorder.infra.http.endpoint import Role
from flashorder.infra.http.tokens import TokenSigner
from flashorder.infra.redis import keys
from flashorder.kernel.clock import rfc3339, utc_now
from flashorder.kernel.identifiers import new_id
from flashorder.settings import Settings
from tests.journeys.people import sign_in
from tests.journeys.system import SKU

HOST = "127.0.0.1"
START_SECONDS_MAX = 30
STOP_SECONDS_MAX = 30
UNITS = 100_000
BODY = f'{{"sku":"{SKU}","quantity":1}}'.encode()
# All buyers come from one machine: no limit is meant for them, but those that a test asks about.
ONE_MACHINE = {
    "FLASHORDER_ADDRESS_REQUESTS_PER_SECOND": "1000000",
    "FLASHORDER_ADDRESS_REQUESTS_BURST": "1000000",
    "FLASHORDER_BUYER_REQUESTS_PER_SECOND": "1000000",
    "FLASHORDER_BUYER_REQUESTS_BURST": "1000000",
    "FLASHORDER_DATABASE_CONNECTIONS_MAX": "2",
}


@dataclass
class Front:
    """A serving process and the sale in it."""

    pid: int
    port: int
    settings: Settings
    sale_id: str

    @property
    def path(self) -> str:
        """Where purchases are posted."""
        return f"/v1/sales/{self.sale_id}/orders"

    def token(self) -> str:
        """The token of a shopper whom nobody has seen yet."""
        return TokenSigner.of(self.settings).sign(new_id(), Role.SHOPPER, uuid.uuid4().hex)

    def credentials(self, token: str | None = None, key: str | None = None) -> list[bytes]:
        """The header lines that a purchase needs beside its framing."""
        return [
            b"Host: shop.example",
            b"Content-Type: application/json",
            f"Idempotency-Key: {key or uuid.uuid4().hex}".encode(),
            f"Authorization: Bearer {token or self.token()}".encode(),
        ]

    def purchase(self, token: str | None = None, key: str | None = None) -> bytes:
        """A whole purchase of one unit."""
        head = [
            f"POST {self.path} HTTP/1.1".encode(),
            *self.credentials(token, key),
            b"Content-Length: %d" % len(BODY),
        ]
        return b"\r\n".join(head) + b"\r\n\r\n" + BODY

    async def connect(
        self, from_address: str = HOST
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A bare connection."""
        return await asyncio.open_connection(HOST, self.port, local_addr=(from_address, 0))

    async def said_to(self, data: bytes, *, within_seconds: float = 10.0) -> bytes:
        """All that is answered to ``data`` until the connection is closed, by whomever."""
        reader, writer = await self.connect()
        try:
            async with asyncio.timeout(within_seconds):
                writer.write(data)
                try:
                    return await reader.read()
                except ConnectionResetError:
                    return b""
        finally:
            writer.close()

    async def purchases(self) -> int:
        """How many were ever accepted."""
        async with Redis.from_url(self.settings.required_redis_url()) as client:
            return int(await client.xlen(keys.intents(0)))

    def resident_bytes(self) -> int:
        """The memory that the process has."""
        return int(psutil.Process(self.pid).memory_info().rss)


@asynccontextmanager
async def serving_front(
    redis_url: str,
    database_url: str,
    folder: Path,
    changes: Mapping[str, str] | None = None,
) -> AsyncIterator[Front]:
    """The process, ready and with an open sale; stopped in order at the end."""
    settings = Settings(
        redis_url=SecretStr(redis_url), database_url=SecretStr(database_url), data_dir=folder
    )
    operator, _ = await sign_in(settings, SKU)
    environment = {name: value for name, value in os.environ.items() if "FLASHORDER" not in name}
    with (folder / "serve.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "flashorder.cli", "serve",
            env={
                **environment,
                **ONE_MACHINE,
                "FLASHORDER_DATABASE_URL": database_url,
                "FLASHORDER_REDIS_URL": redis_url,
                "FLASHORDER_DATA_DIR": str(folder),
                "FLASHORDER_PORT": "0",
                **(changes or {}),
            },
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
        )  # fmt: skip
    try:
        assert process.stdout is not None
        async with asyncio.timeout(START_SECONDS_MAX):
            line = await process.stdout.readline()
        assert line.startswith(b"serving http://"), line
        url = line.split()[1].decode()
        sale_id = await _open_sale(url, operator)
        yield Front(process.pid, int(url.rpartition(":")[2]), settings, sale_id)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(STOP_SECONDS_MAX):
            await process.communicate()


async def _open_sale(url: str, operator: str) -> str:
    headers = {"Authorization": f"Bearer {operator}"}
    async with aiohttp.ClientSession(url, headers=headers) as http:

        async def made(path: str, body: object = None) -> str:
            key = {"Idempotency-Key": uuid.uuid4().hex}
            async with http.post(f"/v1/admin/{path}", json=body, headers=key) as answer:
                said = await answer.json(content_type=None)
                assert answer.status < 300, said
                return str(said["sale_id"])

        sale_id = await made("sales", sale())
        await made(f"sales/{sale_id}/open")
    return sale_id


def sale() -> dict[str, object]:
    item = {
        "sku": SKU,
        "quantity": UNITS,
        "unit_price": {"amount": 255, "currency": "GBP"},
        "per_buyer_limit": UNITS,
    }
    return {
        "title": "A sale",
        "starts_at": rfc3339(utc_now() - timedelta(minutes=1)),
        "ends_at": rfc3339(utc_now() + timedelta(hours=1)),
        "items": [item],
    }
