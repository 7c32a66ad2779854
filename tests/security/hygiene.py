"""What no answer of the service may say, whatever was asked (API8, and API3 for secrets)."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

# Each says what software answers, where its files are, or what went on inside of it.
REVEALING_HEADERS = frozenset({"server", "x-powered-by", "via", "x-aspnet-version"})
_INSIDES = re.compile(
    rb"Traceback|File \"/|\.py\b|site-packages|asyncpg|aiohttp|msgspec\.|redis\.exceptions"
    rb"|SELECT |INSERT INTO|UPDATE \w+ SET|violates|relation \"|\$argon2|@0x[0-9a-f]{6}"
    rb"|object at 0x|WRONGTYPE|NOSCRIPT|ERR "
)
_INSIDES_MAY_SHOW = re.compile(r"GET /(docs|openapi\.json|metrics) 200")


def check_answer(
    where: str, status: int, headers: Mapping[str, str], body: bytes, secrets: Collection[bytes]
) -> None:
    """Fail if the answer reveals software, insides or a secret, or lets itself be guessed at."""
    revealing = REVEALING_HEADERS.intersection(name.lower() for name in headers)
    assert not revealing, f"{where}: {revealing}"
    shared = [name for name in headers if name.lower().startswith("access-control-")]
    assert not shared, f"{where}: other origins may read this: {shared}"
    assert headers.get("X-Content-Type-Options") == "nosniff", f"{where}: {dict(headers)}"
    assert headers.get("Cache-Control") in ("no-store", "no-cache"), f"{where}: {dict(headers)}"
    assert "Set-Cookie" not in headers, f"{where}: there are no cookies here"
    if status >= 400 and body:
        assert headers["Content-Type"] == "application/problem+json", where
    assert not any(secret in body for secret in secrets), f"{where}: a secret is told"
    if not _INSIDES_MAY_SHOW.fullmatch(where):
        found = _INSIDES.search(body)
        assert not found, f"{where}: {found}"
