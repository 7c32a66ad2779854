"""A client that lets no answer pass that says too much, or what the document does not know."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
from yarl import URL

from tests.contract import Contract
from tests.journeys.system import Answer
from tests.security.hygiene import check_answer
from tests.security.scene import PASSWORD
from tests.security.service import Service


@dataclass
class Client:
    """Calls a service; each answer is held against its document and against ``hygiene``."""

    service: Service
    http: aiohttp.ClientSession
    contract: Contract
    secrets: tuple[bytes, ...]

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = None,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
        data: bytes | None = None,
    ) -> Answer:
        """One request with a key of its own, unless there is one (empty: none) in ``key``.

        ``body`` is sent as JSON; ``data`` as it is.
        """
        sent = {"Idempotency-Key": uuid.uuid4().hex if key is None else key}
        if not sent["Idempotency-Key"]:
            sent.clear()
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        sent.update(headers or {})
        content: dict[str, Any] = {}
        if data is not None:
            content["data"] = data
        elif body is not None:
            content["json"] = body
        # As it is written: "..", "//" and escapes are for the service to judge.
        url = URL(f"{self.service.url}{path}", encoded=True)
        async with self.http.request(method, url, headers=sent, **content) as response:
            text = await response.read()
            is_json = "json" in response.headers.get("Content-Type", "")
            decoded = await response.json(content_type=None) if is_json and text else text
            where = f"{method} {path} {response.status}"
            if method != "HEAD":
                self.contract.check(method, path, response.status, response.headers, decoded)
            check_answer(where, response.status, response.headers, text, self.secrets)
            return Answer(response.status, decoded, response.headers)


@asynccontextmanager
async def client_of(service: Service) -> AsyncIterator[Client]:
    """A client, over connections that are kept."""
    async with aiohttp.ClientSession(
        cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
    ) as http:
        yield Client(service, http, Contract(service.document), secrets_of(service))


def secrets_of(service: Service) -> tuple[bytes, ...]:
    """What was given to one person, or nobody, and must not be in any other answer."""
    scene = service.scene
    kept = [PASSWORD, *scene.tokens.values()]
    for person in (scene.ada, scene.bob):
        kept += [person.token, person.refresh_token]
    purposes = ("tokens", "idempotency", "webhooks:payments:simulator", "api:payments:simulator")
    kept += [service.settings.derived_key(purpose).hex() for purpose in purposes]
    return tuple(each.encode() for each in kept)
