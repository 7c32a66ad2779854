"""What the store must be like for an acknowledged purchase to be safe.

``flashorder doctor`` prints every finding; the web role calls ``require_store`` when it starts and
for ``/readyz``. Where a managed store hides CONFIG, what cannot be read is a warning, not an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from flashorder.infra.findings import Finding, Level, judge, require
from flashorder.infra.redis.connection import store_failures

SUBJECT = "store"
VALKEY_MAJOR_MIN = 8
REDIS_MAJOR_MIN = 7
MEMORY_SHARE_WARNING = 0.70
_SETTINGS = ("appendfsync", "maxmemory-policy")


async def check_store(redis: Redis) -> list[Finding]:
    """Every finding on the store; raises ``StoreUnavailable`` when it is away."""
    with store_failures():
        info: Mapping[str, Any] = await redis.info("everything")
        settings = await _read_settings(redis)
    return [
        _version(info),
        judge(
            SUBJECT,
            "append-only file",
            f"appendonly is {'yes' if _number(info, 'aof_enabled') else 'no'}",
            "CONFIG SET appendonly yes, and the same in the store's configuration file",
            holds=_number(info, "aof_enabled") == 1,
        ),
        _setting(settings, "appendfsync", "always"),
        _setting(settings, "maxmemory-policy", "noeviction"),
        judge(
            SUBJECT,
            "last write to disk",
            f"aof_last_write_status is {info.get('aof_last_write_status', 'unknown')}",
            "the store cannot write its append-only file: look at its disk and its log",
            holds=info.get("aof_last_write_status", "ok") == "ok",
        ),
        _memory(info),
        _replication(info),
    ]


async def require_store(redis: Redis) -> None:
    """Raise ``Misconfigured`` unless the store keeps what it acknowledges.

    Raises ``StoreUnavailable`` when it is away.
    """
    require(await check_store(redis))


async def _read_settings(redis: Redis) -> dict[str, str] | None:
    try:
        raw: Mapping[Any, Any] = await redis.config_get(*_SETTINGS)
    except ResponseError:  # CONFIG is renamed, or not ours to use
        return None
    return {_text(name): _text(value) for name, value in raw.items()}


def _version(info: Mapping[str, Any]) -> Finding:
    valkey = info.get("valkey_version")
    server, version, least = (
        ("Valkey", str(valkey), VALKEY_MAJOR_MIN)
        if valkey
        else ("Redis", str(info.get("redis_version", "0")), REDIS_MAJOR_MIN)
    )
    major = version.partition(".")[0]
    return judge(
        SUBJECT,
        "version",
        f"{server} {version}",
        f"run Valkey {VALKEY_MAJOR_MIN} or later, or Redis {REDIS_MAJOR_MIN}.0 or later",
        holds=major.isdigit() and int(major) >= least,
    )


def _setting(settings: Mapping[str, str] | None, name: str, wanted: str) -> Finding:
    if settings is None or name not in settings:
        return Finding(
            SUBJECT,
            name,
            Level.WARNING,
            f"{name} cannot be read: the store does not permit CONFIG GET",
            f"make sure with whoever runs the store that {name} is {wanted}",
        )
    return judge(
        SUBJECT,
        name,
        f"{name} is {settings[name]}",
        f"CONFIG SET {name} {wanted}, and the same in the store's configuration file",
        holds=settings[name] == wanted,
    )


def _memory(info: Mapping[str, Any]) -> Finding:
    used, most = _number(info, "used_memory"), _number(info, "maxmemory")
    if not most:
        return Finding(
            SUBJECT,
            "memory",
            Level.WARNING,
            f"{used / 2**20:.0f} MiB used, maxmemory is not set",
            "set maxmemory, so that the service refuses purchases before the kernel ends the store",
        )
    return judge(
        SUBJECT,
        "memory",
        f"{used / 2**20:.0f} MiB of {most / 2**20:.0f} MiB used",
        "raise maxmemory, or settle sales that are over, which removes their keys",
        holds=used < most * MEMORY_SHARE_WARNING,
        otherwise=Level.WARNING,
    )


def _replication(info: Mapping[str, Any]) -> Finding:
    replicas = _number(info, "connected_slaves")
    return judge(
        SUBJECT,
        "replication",
        f"{info.get('role', 'unknown')}, {replicas} replica{'' if replicas == 1 else 's'}",
        "this is a replica and refuses writes: name the primary in FLASHORDER_REDIS_URL",
        holds=info.get("role") == "master",
    )


def _number(info: Mapping[str, Any], name: str) -> int:
    return int(info.get(name, 0))


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
