"""The first answer again: idempotent calls that PostgreSQL decides.

A key belongs to its caller. Whoever inserts it holds a lease and does the work; the same request
meanwhile is told to wait (409), another request under the key is refused (422), and once there is
an answer everybody gets that one. Work goes on when its caller has gone: the answer waits for the
same request. The lease is short, and its holder renews it while the work goes on; one that crashed
leaves it to run out, and the next one does the work again: the rooms' own guards then decide what
is left to do. A holder that cannot renew gives the work up before somebody else may begin it.

Remembered are answers that would be the same again. Not remembered, so that the key can be used
again: failures (5xx), and refusals that only time or a new token mend (401, 408, 423, 425, 429).
"""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog

from flashorder.infra.http.answers import REPLAYED, Answer
from flashorder.infra.jobs import Job
from flashorder.infra.postgres.pool import Pool, database_failures
from flashorder.infra.postgres.sql import load_sql
from flashorder.kernel.errors import (
    Conflict,
    InvalidInput,
    MalformedRequest,
    Overloaded,
    Unavailable,
)

log = structlog.get_logger(__name__)

KEY_CHARACTERS_MAX: Final = 255
FORGOTTEN_KEYS_MAX: Final = 1000
UNSETTLED_MAX: Final = 1000
_NOT_REMEMBERED: Final = frozenset({401, 408, 423, 425, 429})
# The work must be over before the lease is: what is left is for writing the answer down.
WORKING_SHARE_OF_LEASE: Final = 0.9
RENEWING_SHARE_OF_LEASE: Final = 0.3
IN_FLIGHT_RETRY_SECONDS: Final = 1.0


def _is_asked_back(answer: Answer) -> bool:
    """A refusal that names a time to come again must not be given for ever."""
    return answer.status >= 400 and "Retry-After:" in answer.lines


def checked_key(lines: Sequence[str]) -> str:
    """The key in all Idempotency-Key ``lines``, which must be one.

    Raises ``MalformedRequest``: ``idempotency_key_missing`` or ``idempotency_key_invalid``.
    """
    if len(lines) > 1:
        raise MalformedRequest(
            "There is more than one Idempotency-Key header.", code="idempotency_key_invalid"
        )
    value = lines[0] if lines else None
    if not value:
        raise MalformedRequest(
            "This call needs an Idempotency-Key header.", code="idempotency_key_missing"
        )
    if len(value) > KEY_CHARACTERS_MAX or not (value.isascii() and value.isprintable()):
        raise MalformedRequest(
            f"An Idempotency-Key is 1 to {KEY_CHARACTERS_MAX} printable ASCII characters.",
            code="idempotency_key_invalid",
        )
    return value


def fingerprint_of(method: str, path: str, body: bytes) -> bytes:
    """16 bytes that tell one request of a caller from another; ``body`` is canonical."""
    return hashlib.blake2b(f"{method} {path}\n".encode() + body, digest_size=16).digest()


@dataclass(slots=True)
class Lease:
    """The right to do the work of a key until ``locked_until``, which also identifies it.

    ``may_be`` is every value that PostgreSQL may have: more than one while a renewal is under way,
    or its reply is lost.
    """

    caller_id: uuid.UUID
    key: str
    locked_until: datetime
    renewed_at: float
    """By the loop's clock, when ``locked_until`` was asked for."""
    may_be: tuple[datetime, ...] = ()

    def __post_init__(self) -> None:
        self.may_be = (self.locked_until,)


class IdempotencyStore:
    """Keys and first answers in PostgreSQL."""

    def __init__(
        self, pool: Pool, *, lease_seconds: float = 6.0, work_seconds_max: float = 60.0
    ) -> None:
        self._pool = pool
        self._unsettled: deque[tuple[Lease, Answer]] = deque(maxlen=UNSETTLED_MAX)
        self.lease_seconds = lease_seconds
        self.work_seconds_max = work_seconds_max
        self._sql = load_sql("flashorder.infra.http")

    async def claim(self, caller_id: uuid.UUID, key: str, fingerprint: bytes) -> Lease | Answer:
        """A lease to do the work, or the answer that there already is.

        Raises ``Conflict`` (``idempotency_in_flight``) and ``InvalidInput``
        (``idempotency_key_reused``).
        """
        await self._settle_rest()
        # A key that is freed between the two statements can be claimed at the second try.
        for _ in range(3):
            with database_failures():
                async with self._pool.acquire() as connection:
                    asked_at = asyncio.get_running_loop().time()
                    locked_until = await connection.fetchval(
                        self._sql["claim_key"], caller_id, key, fingerprint, self.lease_seconds
                    )
                    if locked_until is not None:
                        return Lease(caller_id, key, locked_until, asked_at)
                    row = await connection.fetchrow(self._sql["read_key"], caller_id, key)
            if row is None:
                continue
            if row["fingerprint"] != fingerprint:
                raise InvalidInput(
                    "This Idempotency-Key was used for another request.",
                    code="idempotency_key_reused",
                )
            if row["status_code"] is not None:
                return Answer(
                    row["status_code"],
                    row["body"],
                    content_type=row["headers"]["content_type"],
                    lines=row["headers"]["lines"] + REPLAYED,
                )
            raise Conflict(
                "The first request with this Idempotency-Key is still in flight.",
                code="idempotency_in_flight",
                retry_after_seconds=IN_FLIGHT_RETRY_SECONDS,
            )
        raise Overloaded("This Idempotency-Key is being used by too many at once.")

    async def renew(self, lease: Lease) -> bool:
        """Have ``lease`` last from now as long as at first; False when it is lost."""
        now = asyncio.get_running_loop().time()
        later = lease.locked_until + timedelta(seconds=now - lease.renewed_at)
        lease.may_be = (*lease.may_be, later)
        with database_failures():
            renewed = await self._pool.fetchval(
                self._sql["renew_lease"], lease.caller_id, lease.key, list(lease.may_be), later
            )
        if renewed is None:
            return False
        lease.locked_until, lease.may_be, lease.renewed_at = later, (later,), now
        return True

    async def settle(self, lease: Lease, answer: Answer) -> None:
        """Remember ``answer`` or free the key. The work is done: its caller gets the answer anyway.

        While PostgreSQL is away this waits, in memory, for the next claim that finds it back.
        """
        try:
            await self._settle(lease, answer)
        except Unavailable as error:
            log.warning("idempotent_answer_not_settled", status=answer.status, error=repr(error))
            self._unsettled.append((lease, answer))

    async def _settle_rest(self) -> None:
        while self._unsettled:
            lease, answer = self._unsettled.popleft()
            try:
                await self._settle(lease, answer)
            except Unavailable:
                self._unsettled.appendleft((lease, answer))
                raise

    async def _settle(self, lease: Lease, answer: Answer) -> None:
        if answer.status >= 500 or answer.status in _NOT_REMEMBERED or _is_asked_back(answer):
            await self.free(lease)
        else:
            await self.remember(lease, answer)

    async def remember(self, lease: Lease, answer: Answer) -> None:
        """Keep ``answer`` as the first one."""
        with database_failures():
            await self._pool.execute(
                self._sql["remember_answer"],
                lease.caller_id,
                lease.key,
                list(lease.may_be),
                answer.status,
                {"content_type": answer.media_type, "lines": answer.lines},
                answer.content,
            )

    async def free(self, lease: Lease) -> None:
        """Give the key back: nothing happened."""
        with database_failures():
            await self._pool.execute(
                self._sql["free_key"], lease.caller_id, lease.key, list(lease.may_be)
            )

    async def forget(self, retention_seconds: float) -> int:
        """Remove a bounded number of answers that are older; how many."""
        with database_failures():
            done = await self._pool.execute(
                self._sql["forget_keys"], retention_seconds, FORGOTTEN_KEYS_MAX
            )
        return int(done.rpartition(" ")[2])


async def answered_once(
    store: IdempotencyStore,
    caller_id: uuid.UUID,
    key: str,
    fingerprint: bytes,
    work: Callable[[], Awaitable[Answer]],
) -> Answer:
    """Do ``work`` unless it was done before; its answer, or the first one again."""
    claimed = await store.claim(caller_id, key, fingerprint)
    if isinstance(claimed, Answer):
        return claimed
    working_seconds = store.lease_seconds * WORKING_SHARE_OF_LEASE
    try:
        async with asyncio.timeout_at(claimed.renewed_at + working_seconds) as bound:
            keeper = asyncio.create_task(_keep(store, claimed, bound, working_seconds))
            try:
                answer = await work()
            finally:
                # Whether a renewal is cut off is all the same: the lease knows what it may be.
                keeper.cancel()
                await asyncio.wait({keeper})
    except TimeoutError:
        # Whether it took effect is not known, so the lease runs out on its own.
        raise Unavailable("This took too long; ask again with the same key.") from None
    await store.settle(claimed, answer)
    return answer


async def _keep(
    store: IdempotencyStore, lease: Lease, bound: asyncio.Timeout, working_seconds: float
) -> None:
    """Renew ``lease`` and put ``bound`` off with it, for as long as work may take at all.

    PostgreSQL being away for a moment is not the end of it: ``bound`` is.
    """
    until = lease.renewed_at + store.work_seconds_max
    while True:
        await asyncio.sleep(store.lease_seconds * RENEWING_SHARE_OF_LEASE)
        try:
            if not await store.renew(lease):
                return
        except Exception as error:  # the work is not to blame for it
            log.warning("idempotency_lease_not_renewed", error=repr(error))
        else:
            bound.reschedule(min(until, lease.renewed_at + working_seconds))


def jobs(store: IdempotencyStore, *, retention_seconds: float) -> list[Job]:
    """Forgetting."""

    async def forget() -> int:
        return await store.forget(retention_seconds)

    return [Job("forget_idempotency_keys", 60.0, forget)]
