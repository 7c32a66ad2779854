"""The only reader of the environment. Every queue, batch, pool and time-out has its bound here.

Each field is ``FLASHORDER_<NAME>``; ``flashorder doctor`` prints what is in force. Units last.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, SecretStr, ValidationError, field_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from flashorder.kernel.errors import DatabaseUnavailable, Misconfigured, StoreUnavailable

Port = Annotated[int, Field(ge=0, le=65535)]
Positive = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0)]
PORTS: Final = r"^\d{1,5}(-\d{1,5})?(,\d{1,5}(-\d{1,5})?)*$"
Networks = Annotated[
    tuple[IPv4Network | IPv6Network, ...],
    NoDecode,
    BeforeValidator(lambda given: given.split(",") if isinstance(given, str) else given),
]

REDIS_SCHEMES: Final = ("redis", "rediss", "unix")
REDIS_FORMS: Final = "redis://HOST:PORT/0, rediss://… with TLS, or unix:///PATH?db=0"
DATABASE_SCHEMES: Final = ("postgresql", "postgres")
DATABASE_FORMS: Final = "postgresql://USER:PASSWORD@HOST:PORT/DATABASE"


class Settings(BaseSettings):
    """What is configurable. Defaults suit one machine that runs everything."""

    model_config = SettingsConfigDict(
        env_prefix="FLASHORDER_",
        frozen=True,
        extra="ignore",
        env_ignore_empty=True,
        hide_input_in_errors=True,  # a URL holds a password
    )

    # -- where things are
    host: str = "127.0.0.1"
    port: Port = 8080
    data_dir: Path = Path(".data")
    redis_url: SecretStr | None = None
    database_url: SecretStr | None = None
    payment_simulator_url: str = "http://127.0.0.1:8091"
    carrier_simulator_url: str = "http://127.0.0.1:8092"
    # where the simulators send their webhooks; unset: this machine's port
    service_url: str | None = None
    metrics_port: Port = 0

    # -- secrets; when unset, derived from a random seed kept in the data folder with mode 0600
    secret: SecretStr | None = None

    # -- the front
    workers: Positive = 1
    # Which of several web workers this process is, from 0; set by `flashorder serve`.
    worker_index: Annotated[int, Field(ge=0)] | None = None
    shards: Annotated[int, Field(ge=1, le=256)] = 1
    batch_purchases_max: Annotated[int, Field(ge=1, le=512)] = 256
    waiting_purchases_max: Positive = 20_000
    # How long a purchase may be expected to be in hand; who would wait for longer is refused.
    purchase_wait_seconds_max: Seconds = 0.5
    # How many SKUs a web worker may refuse by itself once they are sold out, and the purchases of a
    # sale above which it does not (it remembers them all, 2 to 4 bytes each); see docs/adr/0011.
    sold_out_skus_max: Positive = 64
    sold_out_tokens_max: Positive = 1_000_000
    sale_refresh_seconds: Seconds = 0.2
    sale_sync_seconds: Seconds = 0.2
    # After it closed, a drained sale is settled by itself; 0: only an operator settles.
    sale_settle_delay_seconds: Annotated[float, Field(ge=0)] = 86400.0
    rebuild_drain_timeout_seconds: Seconds = 30.0
    store_timeout_seconds: Seconds = 2.0
    # How often each role looks whether another server, or a server that was started again, answers.
    store_watch_seconds: Seconds = 1.0
    store_memory_share_max: Annotated[float, Field(gt=0, le=1)] = 0.85
    connections_max: Positive = 20_000
    connections_per_address_max: Positive = 10_000
    body_bytes_max: Positive = 16 * 1024
    header_timeout_seconds: Seconds = 10.0
    body_timeout_seconds: Seconds = 10.0
    # How long a client may leave unread what was written to it.
    write_timeout_seconds: Seconds = 10.0
    keepalive_timeout_seconds: Seconds = 75.0
    drain_timeout_seconds: Seconds = 10.0
    # How long a silent connection may still send a request to a process that drains.
    drain_linger_seconds: Seconds = 2.0
    buyer_requests_per_second: Seconds = 20.0
    buyer_requests_burst: Positive = 40
    address_requests_per_second: Seconds = 2_000.0
    address_requests_burst: Positive = 10_000
    # At one account: so many at once, and so many an hour for whoever goes on guessing.
    login_attempts_burst: Positive = 10
    login_attempts_per_hour: Positive = 100
    login_attempts_per_address_per_minute: Positive = 600
    password_hashes_at_once: Positive = 2
    # How many proxies of ours stand in front, each appending to X-Forwarded-For.
    trusted_proxies: Annotated[int, Field(ge=0, le=8)] = 0
    # How long a key stays in flight when the worker that had it has died; renewed while it works.
    idempotency_lease_seconds: Seconds = 6.0
    # The longest work under a key: a rebuild, after the wait for the consumers.
    idempotency_work_seconds_max: Seconds = 60.0
    idempotency_retention_seconds: Seconds = 86400.0
    session_poll_seconds: Seconds = 1.0

    # -- tokens
    token_issuer: str = "flashorder"
    token_audience: str = "flashorder"
    access_token_seconds: Positive = 3600
    refresh_token_seconds: Positive = 30 * 86400
    remembered_tokens_max: Positive = 200_000

    # -- behind the stream
    database_connections_max: Positive = 10
    database_acquire_timeout_seconds: Seconds = 5.0
    # What a web request's reading may take before it is answered without the database.
    database_read_timeout_seconds: Seconds = 3.0
    consumer_batch_entries_max: Positive = 1000
    consumer_claim_idle_seconds: Seconds = 5.0
    consumer_name: str | None = None
    consumer_block_seconds: Seconds = 0.5
    consumer_upkeep_seconds: Seconds = 1.0
    # Roles that answer nobody give way to those that do, where they share a processor.
    background_niceness: Annotated[int, Field(ge=0, le=19)] = 5
    order_streams_max: Positive = 5_000
    order_stream_poll_seconds: Seconds = 0.2
    order_stream_heartbeat_seconds: Seconds = 15.0
    payment_window_seconds: Positive = 900
    payment_silence_seconds: Seconds = 10.0
    payment_attempts_max: Positive = 10
    payment_capture: Annotated[str, Field(pattern="^(automatic|manual)$")] = "automatic"
    payment_batch_max: Positive = 100
    payment_webhook_retention_seconds: Seconds = 30 * 86400.0
    # A refund that the house owes and the provider refuses; the pause doubles each time.
    refund_attempts_max: Annotated[int, Field(ge=1, le=20)] = 8
    refund_retry_seconds: Seconds = 60.0
    provider_timeout_seconds: Seconds = 10.0
    provider_connections_max: Positive = 100
    provider_calls_max: Positive = 8
    order_wait_seconds: Annotated[float, Field(ge=0)] = 2.0
    fulfilment_batch_shipments_max: Positive = 100
    tracking_silence_seconds: Seconds = 30.0
    carrier_webhook_retention_seconds: Positive = 30 * 86400
    completion_delay_seconds: Annotated[float, Field(ge=0)] = 14 * 86400
    outbox_batch_events_max: Positive = 200
    outbox_handlers_max: Positive = 16
    outbox_poll_seconds: Seconds = 0.05
    # What a killed worker had in hand comes back after it; half of it is a handler's time, which
    # is a call's to a provider. A test holds both bounds.
    outbox_lease_seconds: Seconds = 20.0
    outbox_retention_seconds: Seconds = 7 * 86400.0
    reconciliation_interval_seconds: Seconds = 30.0

    # -- webhooks to subscribers
    # Where subscribers may be, beside the public internet over https.
    webhook_ports: Annotated[str, Field(pattern=PORTS)] = "443,8443"
    webhook_networks: Networks = ()
    webhook_plain_http: bool = False

    # -- the demonstration: paid orders walk to the doorstep on their own
    autopilot: bool = False
    autopilot_pause_seconds: Annotated[float, Field(ge=0)] = 1.0

    # -- telemetry
    log_level: str = "info"
    log_format: Annotated[str, Field(pattern="^(json|console)$")] = "json"

    @field_validator("redis_url")
    @classmethod
    def _redis_url_is_one(cls, url: SecretStr | None) -> SecretStr | None:
        return _checked_url(url, REDIS_SCHEMES, REDIS_FORMS)

    @field_validator("database_url")
    @classmethod
    def _database_url_is_one(cls, url: SecretStr | None) -> SecretStr | None:
        return _checked_url(url, DATABASE_SCHEMES, DATABASE_FORMS)

    @cached_property
    def seed(self) -> bytes:
        """The 32 bytes that every key is derived from; the same in all roles of one deployment."""
        if self.secret is not None:
            return hashlib.sha256(self.secret.get_secret_value().encode()).digest()
        return _kept_seed(self.data_dir / "secret")

    @property
    def webhooks_base_url(self) -> str:
        """``service_url``, or this machine's own port, without a slash at the end."""
        return (self.service_url or f"http://127.0.0.1:{self.port}").rstrip("/")

    def derived_key(self, purpose: str) -> bytes:
        """32 bytes for one purpose ("tokens", "idempotency", "webhooks:simulator", …)."""
        return hashlib.blake2b(purpose.encode(), key=self.seed, digest_size=32).digest()

    def required_redis_url(self) -> str:
        """The store's URL, or ``StoreUnavailable`` with the way out."""
        if self.redis_url is None:
            raise StoreUnavailable(self._nowhere("FLASHORDER_REDIS_URL"))
        return self.redis_url.get_secret_value()

    def required_database_url(self) -> str:
        """The database's URL, or ``DatabaseUnavailable`` with the way out."""
        if self.database_url is None:
            raise DatabaseUnavailable(self._nowhere("FLASHORDER_DATABASE_URL"))
        return self.database_url.get_secret_value()

    def _nowhere(self, name: str) -> str:
        return (
            f"{name} is not set, and there is no running flashorder up in "
            f"{self.data_dir.absolute()} (run this from the project folder, set "
            "FLASHORDER_DATA_DIR, or name the stores)"
        )


def _checked_url(url: SecretStr | None, schemes: tuple[str, ...], forms: str) -> SecretStr | None:
    """``url``, if a client can read it; the refusal tells the form wanted, never the URL."""
    if url is not None and not _is_url(url.get_secret_value(), schemes):
        raise PydanticCustomError("url", "not a URL of the form {forms}", {"forms": forms})
    return url


def _is_url(text: str, schemes: tuple[str, ...]) -> bool:
    try:
        parts = urlsplit(text)
        # PostgreSQL's own form names several hosts, with a comma between them.
        for host in parts.netloc.rpartition("@")[2].split(","):
            _ = urlsplit(f"//{host}").port  # refuses what is no port
    except ValueError:
        return False
    if parts.scheme == "unix":
        return "unix" in schemes and bool(parts.path)
    return parts.scheme in schemes and text.partition(":")[2].startswith("//")


def _kept_seed(path: Path) -> bytes:
    """Read the seed at ``path``, or make it: linked into place whole, so that two racers agree."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        fresh.touch(mode=0o600)
        fresh.write_bytes(secrets.token_bytes(32))
        try:
            path.hardlink_to(fresh)
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
    seed = path.read_bytes()
    if len(seed) != 32:
        raise Misconfigured(f"{path} is not a seed of 32 bytes: remove it, and all tokens expire")
    return seed


def load_settings() -> Settings:
    """Settings from the environment; ``Misconfigured`` names each variable that is wrong.

    What the environment leaves open is read from the file that FLASHORDER_ENV_FILE names: lines of
    ``NAME=VALUE``, read anew by each process that starts.
    """
    file = os.environ.get("FLASHORDER_ENV_FILE")
    sources: dict[str, Any] = {}
    if file:
        if not (Path(file).is_file() and os.access(file, os.R_OK)):
            raise Misconfigured(f"FLASHORDER_ENV_FILE: {file} is no file that can be read")
        sources["_env_file"] = file
    try:
        return Settings(**sources)
    except ValidationError as error:
        wrong = "; ".join(
            f"FLASHORDER_{'_'.join(map(str, each['loc'])).upper()}: {each['msg']}"
            for each in error.errors()
        )
        raise Misconfigured(wrong) from None
