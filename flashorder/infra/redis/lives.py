"""Whether a server's data was verified since it started: lua/check_life.lua.

A store that comes back may lack what it had acknowledged: a disk that lied, a replica that lagged,
an old file that was put back. Ids of entries grow with time, so the next purchase would hide it.
Therefore whoever is told of entries remembers the highest, and asks a server that it did not speak
with before. What follows from the answer is decided above (flashorder/fencing).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, NamedTuple, TypeAlias

from flashorder.infra.redis import keys
from flashorder.infra.redis.scripts import Script, load_script

NO_ENTRY: Final = b"0-0"
Call: TypeAlias = Callable[
    [Script, Sequence[str | bytes], Sequence[str | bytes | int]], Awaitable[Any]
]
"""Runs a script, on the connection that is asked about."""


class Standing(StrEnum):
    """What a server's data is to who asks."""

    VERIFIED = "verified"
    NEW = "new"
    BEHIND = "behind"


CHECK_CODES = {1: Standing.VERIFIED, 2: Standing.NEW, 3: Standing.BEHIND}


class Life(NamedTuple):
    """The answer; ``identity`` is the server's run_id, ``last_id`` the last of the stream."""

    standing: Standing
    identity: bytes
    last_id: bytes


@dataclass(slots=True)
class Told:
    """The id of the highest entry that a process was told of, and the server that said so."""

    by: bytes = b""
    highest: bytes = NO_ENTRY

    def hear(self, life: Life) -> None:
        """The server was verified: what another one said is in its data, or given up."""
        self.by, self.highest = life.identity, life.last_id


async def check_life(call: Call, shard: int, told: Told) -> Life:
    """How the server's data of ``shard`` stands to ``told``; raises what ``call`` raises."""
    code, identity, last_id = await call(
        load_script("check_life"), (keys.life(shard), keys.intents(shard)), (told.by, told.highest)
    )
    return Life(CHECK_CODES[code], identity, last_id)
