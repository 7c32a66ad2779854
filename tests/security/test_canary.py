"""Secrets of one's own, told to every role at log level debug, through good ways and bad: nobody
repeats them, in a log, an answer, a metric, the output of a command or the list of processes.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import aiohttp
import asyncpg
import msgspec
import psutil
import pytest
from pydantic import SecretStr

from flashorder.settings import Settings
from tests.journeys.people import sign_in
from tests.journeys.system import SKU, free_port
from tests.security.front import sale
from tests.stores import BreakableStores

READY_SECONDS_MAX = 40
COMMAND_SECONDS_MAX = 60
ROLE_SECONDS = 8
# Where people are told what is theirs, and what of it is nobody else's.
OWN = "own: "
PERSONAL = ("recipient", "street")
# What is derived from the one secret, and used as a key.
PURPOSES = (
    "tokens", "idempotency", "api:payments:simulator", "api:carriers:simulator",
    "webhooks:payments:simulator", "webhooks:carriers:simulator",
)  # fmt: skip


def canary() -> str:
    """A word that stands nowhere else, and looks like nothing that is masked by its shape."""
    return f"canary{secrets.token_hex(10)}"


@dataclass
class Aviary:
    """The canaries, and everything in which one might be heard."""

    canaries: dict[str, str] = field(default_factory=dict)
    heard: list[tuple[str, bytes]] = field(default_factory=list)

    def new(self, name: str) -> str:
        """A canary to be told to the service."""
        self.canaries[name] = canary()
        return self.canaries[name]

    def hear(self, where: str, what: bytes) -> None:
        """Something that was said."""
        self.heard.append((where, what))

    def singing(self) -> list[str]:
        """Which canary was heard where, and between which words."""
        found = []
        for name, word in self.canaries.items():
            forms = {word, quote(word, safe=""), msgspec.json.encode(word).decode()[1:-1]}
            for where, what in self.heard:
                if name in PERSONAL and where.startswith(OWN):
                    continue
                for form in forms:
                    at = what.find(form.encode())
                    if at >= 0:
                        found.append(f"{name} in {where}: {what[max(0, at - 120) : at + 60]!r}")
        return found


@dataclass
class House:
    """Every role as a process, at log level debug."""

    aviary: Aviary
    environment: Mapping[str, str]
    folder: Path
    http: aiohttp.ClientSession
    processes: dict[str, asyncio.subprocess.Process]

    async def call(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        """Status and body; a token that is given out is no secret to whom it is given."""
        options.setdefault("headers", {})
        async with self.http.request(method, path, **options) as answer:
            text = await answer.read()
            if not (path == "/v1/tokens" and answer.status == 200):
                own = OWN if answer.status < 300 and "Authorization" in options["headers"] else ""
                self.aviary.hear(f"{own}{method} {path} {answer.status}", text)
            self.aviary.hear(f"head of {method} {path}", str(answer.raw_headers).encode())
            decoded = msgspec.json.decode(text) if text and "json" in answer.content_type else text
            return answer.status, decoded

    async def command(self, *arguments: str, changes: Mapping[str, str] | None = None) -> int:
        """Run a command to its end, hear what it says, and return its exit code.

        A role that waits for its stores instead is told to stop.
        """
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "flashorder.cli", *arguments,
            env={**self.environment, **(changes or {})},
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        talking = asyncio.create_task(process.communicate())
        waits = arguments[0] in ("serve", "consume", "work")
        await asyncio.wait({talking}, timeout=ROLE_SECONDS if waits else COMMAND_SECONDS_MAX)
        if not talking.done():
            assert waits, f"{arguments} does not end"
            process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(COMMAND_SECONDS_MAX):
            said, _ = await talking
        self.aviary.hear(" ".join(arguments), said)
        assert process.returncode is not None
        return process.returncode

    def hear_processes(self) -> None:
        """What `ps` shows of ours, the servers included."""
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                self.aviary.hear(f"ps {process.pid}", "\0".join(process.cmdline()).encode())


@asynccontextmanager
async def house(
    stores: BreakableStores, folder: Path, aviary: Aviary, log_format: str
) -> AsyncIterator[House]:
    """Every role, ready; what they have said is heard at the end."""
    port, payments, carrier, *metrics = (free_port() for _ in range(6))
    environment = {
        **{name: value for name, value in os.environ.items() if "FLASHORDER" not in name},
        "FLASHORDER_DATABASE_URL": stores.database_url,
        "FLASHORDER_REDIS_URL": stores.redis_url,
        "FLASHORDER_SECRET": aviary.canaries["the secret"],
        "FLASHORDER_DATA_DIR": str(folder / "data"),
        "FLASHORDER_PORT": str(port),
        "FLASHORDER_PAYMENT_SIMULATOR_URL": f"http://127.0.0.1:{payments}",
        "FLASHORDER_CARRIER_SIMULATOR_URL": f"http://127.0.0.1:{carrier}",
        "FLASHORDER_LOG_LEVEL": "debug",
        "FLASHORDER_LOG_FORMAT": log_format,
        "FLASHORDER_DATABASE_CONNECTIONS_MAX": "3",
        "PYTHONFAULTHANDLER": "1",
    }
    roles = {
        "payment simulator": (["simulate", "payments"], {}),
        "carrier simulator": (["simulate", "carrier"], {}),
        "web": (["serve"], {"FLASHORDER_METRICS_PORT": str(metrics[0])}),
        "consumer": (["consume"], {"FLASHORDER_METRICS_PORT": str(metrics[1])}),
        "worker": (["work"], {"FLASHORDER_METRICS_PORT": str(metrics[2])}),
    }
    processes: dict[str, asyncio.subprocess.Process] = {}
    async with AsyncExitStack() as stack:
        for name, (arguments, changes) in roles.items():
            log = stack.enter_context((folder / f"{name}.log").open("wb"))
            processes[name] = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "flashorder.cli", *arguments,
                env={**environment, **changes}, stdout=log, stderr=log,
            )  # fmt: skip
        try:
            async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http:
                await _until_ready(http)
                there = House(aviary, environment, folder, http, processes)
                yield there
                for each in metrics:
                    async with http.get(f"http://127.0.0.1:{each}/metrics") as answer:
                        aviary.hear(f"metrics {each}", await answer.read())
        finally:
            for process in processes.values():
                if process.returncode is None:
                    process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(40):
                await asyncio.gather(*(each.wait() for each in processes.values()))
            for name in roles:
                aviary.hear(f"log of {name}", (folder / f"{name}.log").read_bytes())


async def _until_ready(http: aiohttp.ClientSession) -> None:
    async with asyncio.timeout(READY_SECONDS_MAX):
        while True:
            with suppress(aiohttp.ClientConnectionError):
                async with http.get("/readyz") as answer:
                    if answer.status == 200:
                        return
            await asyncio.sleep(0.1)


async def good_ways(house: House, operator: str) -> dict[str, str]:
    """Sign up, sign in, have an address, buy, pay; the headers of the shopper."""
    new = house.aviary.new
    password = new("password")
    person = {"email": "ada@shop.example", "password": password, "name": "Ada"}
    assert (await house.call("POST", "/v1/accounts", json=person))[0] == 201
    credentials = {"email": "ada@shop.example", "password": password}
    status, tokens = await house.call("POST", "/v1/tokens", json=credentials)
    assert status == 200
    house.aviary.canaries["access token"] = tokens["access_token"]
    house.aviary.canaries["refresh token"] = tokens["refresh_token"]
    headers = {"Authorization": f"Bearer {tokens['access_token']}"}
    home = {
        "recipient": new("recipient"), "line1": new("street"), "city": "London",
        "postal_code": "SW1Y 4JH", "country": "GB",
    }  # fmt: skip
    status, address = await house.call("POST", "/v1/me/addresses", json=home, headers=headers)
    assert status == 201, address
    boss = {"Authorization": f"Bearer {operator}"}
    key = {"Idempotency-Key": new("key of the operator")}
    status, made = await house.call("POST", "/v1/admin/sales", json=sale(), headers={**boss, **key})
    assert status == 201, made
    key = {"Idempotency-Key": new("another key of the operator")}
    opened = await house.call(
        "POST", f"/v1/admin/sales/{made['sale_id']}/open", headers={**boss, **key}
    )
    assert opened[0] == 200, opened
    wanted = {"sku": SKU, "quantity": 1, "address_id": address["address_id"]}
    key = {"Idempotency-Key": new("key of the purchase")}
    path = f"/v1/sales/{made['sale_id']}/orders"
    status, order = await house.call("POST", path, json=wanted, headers={**headers, **key})
    assert status == 202, order
    await _paid(house, order["order_id"], headers)
    refreshed = {"refresh_token": tokens["refresh_token"]}
    assert (await house.call("POST", "/v1/tokens", json=refreshed))[0] == 200
    return {**headers, "sale": path}


async def _paid(house: House, order_id: str, headers: Mapping[str, str]) -> None:
    path = f"/v1/orders/{order_id}"
    key = {"Idempotency-Key": house.aviary.new("key of the payment")}
    async with asyncio.timeout(30):
        while True:
            status, started = await house.call(
                "POST", f"{path}/payments", json={"provider": "simulator"},
                headers={**headers, **key},
            )  # fmt: skip
            if status == 201:
                break
            await asyncio.sleep(0.2)
    async with house.http.post(
        f"{started['action']['url']}/decision", json={"decision": "approve"}
    ) as answer:
        assert answer.status < 300
    async with asyncio.timeout(30):
        while (await house.call("GET", path, headers=headers))[1]["payment_status"] != "captured":
            await asyncio.sleep(0.2)


async def bad_ways(house: House, shopper: dict[str, str]) -> None:
    """Refusals of every kind, with a canary in what is refused."""
    new, call = house.aviary.new, house.call
    path = shopper.pop("sale")
    json = {"Content-Type": "application/json"}
    for status, method, target, options in (
        (401, "POST", "/v1/tokens", {"json": {"email": "ada@shop.example", "password": "W"}}),
        (422, "POST", "/v1/tokens", {"json": {"password": "W", "more": "W"}}),
        (422, "POST", "/v1/tokens", {"json": {"email": "W", "password": ["W"]}}),
        (400, "POST", "/v1/tokens", {"data": b'{"password": "W', "headers": json}),
        (415, "POST", "/v1/tokens", {"data": b"password=W"}),
        (401, "POST", "/v1/tokens", {"json": {"refresh_token": "W"}}),
        (422, "POST", "/v1/accounts", {"json": {"email": "no", "password": "W", "name": "W"}}),
        (401, "GET", "/v1/me", {"headers": {"Authorization": "Bearer W"}}),
        (401, "GET", "/v1/me", {"headers": {"Authorization": "W"}}),
        (401, "GET", "/v1/me", {"headers": {"Authorization": "Basic W"}}),
        (401, "GET", "/v1/me?token=W&password=W", {}),
        (404, "GET", "/v1/nothing?token=W", {"headers": {"Cookie": "session=W"}}),
        (422, "GET", "/v1/orders?cursor=W&limit=W", {"headers": shopper}),
        (422, "POST", "/v1/me/addresses", {"json": {"recipient": "W"}, "headers": shopper}),
        (400, "POST", path, {"json": {}, "headers": {**shopper, "Idempotency-Key": "W" * 300}}),
        (422, "POST", path, {"json": {"sku": "W"}, "headers": {**shopper, "Idempotency-Key": "W"}}),
        (401, "POST", "/v1/webhooks/payments/simulator",
         {"data": b'{"secret": "W"}', "headers": {**json, "X-Signature": "W", "webhook-id": "W"}}),
        (401, "POST", "/v1/webhooks/carriers/simulator",
         {"data": b"W", "headers": {**json, "webhook-signature": "v1,W"}}),
    ):  # fmt: skip
        word = new(f"{method} {urlsplit(target).path} {status} {len(house.aviary.canaries)}")
        told = _with(options, word)
        got, said = await call(method, target.replace("W", word), **told)
        assert got == status or got in (400, 401, 422), (target, got, said)


def _with(options: Any, word: str) -> Any:
    if isinstance(options, dict):
        return {name: _with(each, word) for name, each in options.items()}
    if isinstance(options, list):
        return [_with(each, word) for each in options]
    if isinstance(options, bytes):
        return options.replace(b"W", word.encode())
    return options.replace("W" * 300, word * 12).replace("W", word)


async def crash(house: House, stores: BreakableStores, shopper: Mapping[str, str]) -> None:
    """A failure that nobody foresaw: the database refuses a row, and shows it in its refusal."""
    connection = await asyncpg.connect(stores.database_url)
    try:
        for table in ("addresses", "accounts"):
            await connection.execute(
                f"ALTER TABLE {table} ADD CONSTRAINT never CHECK (false) NOT VALID"
            )
        new = house.aviary.new
        home = {
            "recipient": new("recipient of the crash"), "line1": new("street of the crash"),
            "city": "London", "postal_code": "SW1Y 4JH", "country": "GB",
        }  # fmt: skip
        status, _ = await house.call("POST", "/v1/me/addresses", json=home, headers=shopper)
        assert status == 500
        person = {
            "email": f"{new('email of the crash')}@shop.example",
            "password": new("password of the crash"),
            "name": new("name of the crash"),
        }
        assert (await house.call("POST", "/v1/accounts", json=person))[0] == 500
        for table in ("addresses", "accounts"):
            await connection.execute(f"ALTER TABLE {table} DROP CONSTRAINT never")
    finally:
        await connection.close()


async def without_stores(house: House, stores: BreakableStores, shopper: Mapping[str, str]) -> None:
    """Both stores are killed while they are asked."""
    new = house.aviary.new
    await stores.database.kill()
    credentials = {"email": "ada@shop.example", "password": new("password while it is away")}
    assert (await house.call("POST", "/v1/tokens", json=credentials))[0] == 503
    await stores.store.kill()
    key = {"Idempotency-Key": new("key while it is away")}
    status, _ = await house.call(
        "POST", f"/v1/sales/{secrets.token_hex(16)}/orders",
        json={"sku": SKU, "quantity": 1}, headers={**shopper, **key},
    )  # fmt: skip
    assert status in (404, 503)
    async with asyncio.timeout(READY_SECONDS_MAX):
        while (await house.call("GET", "/readyz"))[0] != 503:
            await asyncio.sleep(0.2)
    await house.command("doctor")
    await house.command("doctor", "--json")
    await house.command("verify", "--json")
    await asyncio.gather(stores.store.start(), stores.database.start())
    await _until_ready(house.http)


async def wrong_settings(house: House) -> None:
    """Commands that cannot reach a store, or are told nonsense."""
    new = house.aviary.new
    wrong = (
        (["serve"], "REDIS_URL", "redis://user:W@127.0.0.1:1/0"),
        (["serve"], "DATABASE_URL", "postgresql://user:W@127.0.0.1:1/shop"),
        (["serve"], "REDIS_URL", "redis://user:W@127.0.0.1:no/0"),
        (["consume"], "DATABASE_URL", "postgresql://u:W@[::1/shop"),
        (["work"], "REDIS_URL", "http://user:W@127.0.0.1/0"),
        (["migrate"], "DATABASE_URL", "postgresql://u@127.0.0.1:1/shop?password=W"),
        (["doctor"], "REDIS_URL", "redis://user:W@127.0.0.1:1/0"),
        (["doctor", "--json"], "DATABASE_URL", "postgresql://user:W@127.0.0.1:1/shop"),
        (["verify"], "REDIS_URL", "redis://user:W@127.0.0.1:1/0?db=W"),
        (["reconcile", "--json"], "DATABASE_URL", "postgresql://u:W@127.0.0.1:1/shop?sslmode=W"),
    )
    for command, name, url in wrong:
        word = new(f"password of {' '.join(command)} in {name}")
        changes = {f"FLASHORDER_{name}": url.replace("W", word), "FLASHORDER_PORT": "0"}
        code = await house.command(*command, changes=changes)
        assert code != 0 or command[0] in ("serve", "consume", "work"), (command, url)
        assert house.aviary.heard[-1][1], f"{command} says nothing about {url}"


@pytest.mark.timeout(240)
@pytest.mark.parametrize("log_format", ["json", "console"])
async def test_no_canary_sings(stores: BreakableStores, tmp_path: Path, log_format: str) -> None:
    aviary = Aviary()
    secret = aviary.new("the secret")
    for name, url in (("store", stores.redis_url), ("database", stores.database_url)):
        password = urlsplit(url).password
        assert password
        aviary.canaries[f"password of the {name}"] = password
    settings = Settings(
        secret=SecretStr(secret), redis_url=SecretStr(stores.redis_url),
        database_url=SecretStr(stores.database_url),
    )  # fmt: skip
    for purpose in PURPOSES:
        aviary.canaries[f"key for {purpose}"] = settings.derived_key(purpose).hex()
    operator, _ = await sign_in(settings, SKU)
    aviary.canaries["token of the operator"] = operator
    async with house(stores, tmp_path, aviary, log_format) as there:
        shopper = await good_ways(there, operator)
        there.hear_processes()
        await bad_ways(there, shopper)
        await crash(there, stores, shopper)
        await without_stores(there, stores, shopper)
        for path in ("/openapi.json", "/docs", "/metrics", "/readyz", "/healthz"):
            await there.call("GET", path)
        for command in (["doctor", "--json"], ["verify", "--json"], ["reconcile", "--json"]):
            await there.command(*command)
        await wrong_settings(there)
        there.hear_processes()
    for log in (tmp_path / "stores" / "logs").glob("*.log"):
        aviary.hear(f"log of the server {log.name}", log.read_bytes())
    logs = dict(aviary.heard)
    assert b"request_failed" in logs["log of web"], "the crash was told, and so could be heard"
    assert len(aviary.canaries) > 40
    singing = aviary.singing()
    assert not singing, "\n".join(singing)
