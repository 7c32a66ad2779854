"""The URLs of docs/deployment.md: TLS to both stores, and no trust in a stranger's certificate."""

from __future__ import annotations

import asyncio
import datetime
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from flashorder.infra.postgres.pool import connect_postgres
from flashorder.infra.redis.connection import connect_redis, store_failures
from flashorder.kernel.errors import DatabaseUnavailable, StoreUnavailable

SSL_REQUEST = bytes.fromhex("0000000804d2162f")


@dataclass
class Certificate:
    """A key and its own certificate, in one file."""

    path: Path

    @classmethod
    def made(cls, path: Path, address: str) -> Certificate:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))]), False
            )
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
            .sign(key, hashes.SHA256())
        )
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        return cls(path)


@asynccontextmanager
async def ending_tls(url: str, certificate: Certificate) -> AsyncIterator[int]:
    """A proxy that ends TLS in front of the server at ``url``; yields its port."""
    target = urlsplit(url)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.path)
    tasks: set[asyncio.Task[None]] = set()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            if target.scheme == "postgresql":
                assert await reader.readexactly(len(SSL_REQUEST)) == SSL_REQUEST
                writer.write(b"S")
            await writer.start_tls(context)
            inner_reader, inner_writer = await asyncio.open_connection(target.hostname, target.port)
            await asyncio.gather(pump(reader, inner_writer), pump(inner_reader, writer))
        except (OSError, EOFError, asyncio.CancelledError):
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def through(url: str, port: int, query: str, scheme: str) -> str:
    """``url`` by way of the proxy."""
    parts = urlsplit(url)
    login = parts.netloc.rpartition("@")[0]
    netloc = f"{login}@127.0.0.1:{port}" if login else f"127.0.0.1:{port}"
    return parts._replace(scheme=scheme, netloc=netloc, query=query).geturl()


@pytest.fixture
def certificate(tmp_path: Path) -> Certificate:
    return Certificate.made(tmp_path / "store.pem", "127.0.0.1")


@pytest.fixture
def others(tmp_path: Path) -> list[Certificate]:
    """One of a stranger, and one that names another host."""
    return [
        Certificate.made(tmp_path / "stranger.pem", "127.0.0.1"),
        Certificate.made(tmp_path / "elsewhere.pem", "127.0.0.2"),
    ]


async def test_the_store_by_rediss(
    redis_url: str, certificate: Certificate, others: list[Certificate]
) -> None:
    async with ending_tls(redis_url, certificate) as port:
        query = f"ssl_ca_certs={certificate.path}"
        redis = connect_redis(through(redis_url, port, query, "rediss"))
        assert await redis.ping()
        await redis.aclose()
    stranger, elsewhere = others
    for shown, trusted in ((stranger, certificate), (elsewhere, elsewhere)):
        async with ending_tls(redis_url, shown) as port:
            query = f"ssl_ca_certs={trusted.path}"
            redis = connect_redis(through(redis_url, port, query, "rediss"))
            with pytest.raises(StoreUnavailable), store_failures():
                await redis.ping()
            await redis.aclose()


async def test_the_database_by_verify_full(
    database_url: str, certificate: Certificate, others: list[Certificate]
) -> None:
    async with ending_tls(database_url, certificate) as port:
        query = f"sslmode=verify-full&sslrootcert={certificate.path}"
        pool = await connect_postgres(through(database_url, port, query, "postgresql"))
        assert await pool.fetchval("SELECT 1") == 1
        await pool.close()
    stranger, elsewhere = others
    for shown, trusted in ((stranger, certificate), (elsewhere, elsewhere)):
        async with ending_tls(database_url, shown) as port:
            query = f"sslmode=verify-full&sslrootcert={trusted.path}"
            with pytest.raises(DatabaseUnavailable):
                await connect_postgres(through(database_url, port, query, "postgresql"))
