"""The embedded store: one Valkey (or Redis) that fsyncs every write before it answers."""

from __future__ import annotations

import signal
from pathlib import Path
from urllib.parse import quote

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from flashorder.infra.embedded.binaries import ServerBinary, find_store_binary
from flashorder.infra.embedded.data_folder import DataFolder, kept_password, write_private
from flashorder.infra.embedded.leftovers import end_leftovers
from flashorder.infra.embedded.ports import LOOPBACK
from flashorder.infra.embedded.process import ServerCommand
from flashorder.infra.embedded.server import EmbeddedServer

SOCKET_NAME = "valkey.sock"
PROBE_TIMEOUT_SECONDS = 1.0
# The wheel's server takes its memory from the C library. glibc keeps seven free chunks of each size
# at hand, and a batch of purchases takes and frees thousands of the same: a seventh of the store's
# time went into searching its bins. Another C library does not read this.
ALLOCATOR = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=4096"}


class EmbeddedStore(EmbeddedServer):
    """A store server in the data folder; its address after ``start``.

    ``maxmemory`` is in Valkey's notation ("1gb"); beyond it writes are refused, nothing is ever
    evicted. A start after a crash replays the append-only file, hence the generous time.
    """

    role = "store"

    def __init__(
        self,
        folder: DataFolder,
        *,
        port: int | None = None,
        maxmemory: str = "1gb",
        binary: ServerBinary | None = None,
        start_timeout_seconds: float = 60.0,
        stop_timeout_seconds: float = 10.0,
    ) -> None:
        super().__init__(
            folder,
            port=port,
            start_timeout_seconds=start_timeout_seconds,
            stop_timeout_seconds=stop_timeout_seconds,
        )
        self.maxmemory = maxmemory
        self.binary = binary
        self._password = ""
        self._socket: Path | None = None

    @property
    def url(self) -> str:
        """``redis://`` address over TCP, password included. Valid after the first ``start``."""
        return f"redis://:{self._password}@{LOOPBACK}:{self.port}/0"

    @property
    def socket_url(self) -> str:
        """``unix://`` address: less work for the kernel than TCP on the same machine."""
        assert self._socket is not None, "the store was never started"
        return f"unix://:{self._password}@{quote(str(self._socket))}?db=0"

    async def _clear_the_way(self) -> None:
        self.binary = self.binary or await find_store_binary()
        folder = self._folder.store_folder
        await end_leftovers(folder, signal.SIGTERM, self.stop_timeout_seconds)

    async def _command(self, port: int) -> ServerCommand:
        assert self.binary is not None
        folder = self._folder.store_folder
        self._password = kept_password(folder / "password")
        self._socket = self._folder.socket_folder(folder, SOCKET_NAME) / SOCKET_NAME
        self._socket.unlink(missing_ok=True)
        # A file, not arguments: the command line of a process is for everybody to read.
        configuration = folder / "valkey.conf"
        write_private(configuration, self._configuration(port, self._socket).encode())
        return ServerCommand(
            name="Valkey",
            argv=(str(self.binary.path), configuration.name),
            folder=folder,
            log_file=self._folder.fresh_log("valkey"),
            pid_file=folder / "valkey.pid",
            stop_signal=signal.SIGTERM,
            environment=ALLOCATOR,
        )

    def _last_port(self) -> int | None:
        return self._folder.endpoints().redis_port

    def _record_endpoint(self) -> None:
        self._folder.record_endpoints(redis_url=self.url, redis_port=self.port)

    def _configuration(self, port: int, socket: Path) -> str:
        return "\n".join(
            (
                f"bind {LOOPBACK}",
                f"port {port}",
                f'unixsocket "{_escaped(str(socket))}"',
                "unixsocketperm 600",
                "protected-mode yes",
                f"requirepass {self._password}",
                "daemonize no",
                # An acknowledged purchase is on disk; a torn tail was never acknowledged.
                "appendonly yes",
                "appendfsync always",
                "aof-load-truncated yes",
                # A rewrite forks in the middle of a rush, which costs each order 2 µs of the
                # store; below this size, about a million orders, reading it all takes seconds.
                "auto-aof-rewrite-min-size 256mb",
                'save ""',
                f"maxmemory {self.maxmemory}",
                "maxmemory-policy noeviction",
                "",
            )
        )

    async def _answers(self, pid: int) -> bool:
        client = Redis.from_url(
            self.url,
            socket_timeout=PROBE_TIMEOUT_SECONDS,
            socket_connect_timeout=PROBE_TIMEOUT_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
        try:
            # PING is refused while the data is still being loaded; INFO is not, and tells
            # whether it is our server that answers here.
            await client.ping()
            server = await client.info("server")
        except (RedisError, OSError):
            return False
        finally:
            await client.aclose()
        return bool(server["process_id"] == pid)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
