"""The scripts of ``lua/``: loaded by name, called by digest, taught again when forgotten."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoScriptError


def script_folder() -> Traversable:
    """Where the scripts are: ``lua/`` of the checkout, or inside the installed package."""
    installed = resources.files("flashorder") / "lua"
    return installed if installed.is_dir() else Path(__file__).parents[3] / "lua"


@dataclass(frozen=True, slots=True)
class Script:
    """One script: ``name`` without ending, its source, and its SHA-1 as EVALSHA wants it."""

    name: str
    source: str
    sha: str

    async def __call__(
        self,
        redis: Redis,
        keys: Sequence[str | bytes],
        args: Sequence[str | bytes | int],
    ) -> Any:
        """Run it; a store that does not know it (restarted, SCRIPT FLUSH) is taught it first.

        NOSCRIPT means that nothing was executed, so the second try cannot double an effect.
        """
        try:
            return await redis.evalsha(self.sha, len(keys), *keys, *args)
        except NoScriptError:
            await redis.script_load(self.source)
            return await redis.evalsha(self.sha, len(keys), *keys, *args)


@cache
def load_script(name: str) -> Script:
    """The script ``lua/<name>.lua``."""
    source = (script_folder() / f"{name}.lua").read_text(encoding="utf-8")
    return Script(name, source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())
