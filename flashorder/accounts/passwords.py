"""Passwords: argon2id (RFC 9106), hashed in a bounded number of threads.

The parameters are OWASP's first recommendation: 19 MiB, two passes, one lane; about 25 ms. That
much work is also a way to keep a service busy, so only so many may wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from flashorder.kernel.errors import Overloaded

MEMORY_KIB: Final = 19 * 1024
PASSES: Final = 2
WAITING_MAX: Final = 64
T = TypeVar("T")


class Passwords:
    """Hashes and checks; ``close`` ends its threads."""

    def __init__(self, *, at_once: int) -> None:
        self._hasher = PasswordHasher(time_cost=PASSES, memory_cost=MEMORY_KIB, parallelism=1)
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="argon2")
        self._waiting = 0
        self._nobodys_hash: str | None = None

    async def hash(self, password: str) -> str:
        """The hash to keep, in PHC form. ``Overloaded`` when too many wait."""
        return await self._in_thread(lambda: self._hasher.hash(password))

    async def matches(self, password: str, kept: str | None) -> bool:
        """Whether ``password`` is the one that ``kept`` was made of.

        Without a hash, the same work is done for nothing: how long it takes tells nobody whether
        there is such an account. ``Overloaded`` when too many wait.
        """
        return await self._in_thread(lambda: self._check(password, kept))

    def close(self) -> None:
        """Finish what is being done, drop what waits."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _check(self, password: str, kept: str | None) -> bool:
        if kept is None:
            if self._nobodys_hash is None:
                self._nobodys_hash = self._hasher.hash("nobody's")
            self._verify(self._nobodys_hash, password)
            return False
        return self._verify(kept, password)

    def _verify(self, kept: str, password: str) -> bool:
        try:
            return self._hasher.verify(kept, password)
        except (VerificationError, InvalidHashError):
            return False

    async def _in_thread(self, work: Callable[[], T]) -> T:
        if self._waiting >= WAITING_MAX:
            raise Overloaded("Too many are signing in at once.")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._waiting -= 1
