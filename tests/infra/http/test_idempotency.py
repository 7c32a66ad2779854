"""The first answer again: races, crashes, other bodies, and what is not remembered."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from flashorder.infra.http.answers import Answer
from flashorder.infra.http.endpoint import ANY_ROLE, Call, Endpoint, Reply
from flashorder.infra.http.idempotency import (
    RENEWING_SHARE_OF_LEASE,
    WORKING_SHARE_OF_LEASE,
    IdempotencyStore,
    Lease,
    answered_once,
    fingerprint_of,
    jobs,
)
from flashorder.infra.postgres.pool import Pool, connect_postgres
from flashorder.kernel.errors import Conflict, DatabaseUnavailable, InvalidInput, Unavailable
from tests.infra.http.serving import Served, make_settings, served
from tests.stores import BreakableStores


class Payment(msgspec.Struct, forbid_unknown_fields=True):
    amount: int
    note: str = ""


@pytest_asyncio.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    """Connections to the test's database."""
    async with await connect_postgres(database_url) as connections:
        yield connections


@asynccontextmanager
async def paying(
    pool: Pool, handler: Callable[[Call], Awaitable[Reply]], **options: Any
) -> AsyncIterator[Served]:
    """An idempotent call, served."""
    endpoint = Endpoint(
        "POST", "/pay/{order_id}", handler, "s", "t", roles=ANY_ROLE, body=Payment,
        replies={201: dict[str, int]}, idempotent=True,
    )  # fmt: skip
    async with served([endpoint], idempotency=IdempotencyStore(pool, **options)) as site:
        yield site


async def post(
    site: Served, headers: dict[str, str], body: Any = None, path: str = "/pay/1"
) -> tuple[int, str, bool]:
    """Status, body, and whether it was replayed."""
    sent = {"amount": 1} if body is None else body
    options = {"data": sent} if isinstance(sent, bytes) else {"json": sent}
    headers = {"Content-Type": "application/json", **headers}
    async with site.client.post(path, headers=headers, **options) as answer:
        replayed = answer.headers.get("Idempotency-Replayed") == "true"
        return answer.status, await answer.text(), replayed


async def test_the_first_answer_again(pool: Pool) -> None:
    done = []

    async def pay(call: Call) -> Reply:
        done.append(call.idempotency_key)
        return Reply(201, {"payment": len(done)}, {"Location": f"/payments/{len(done)}"})

    async with paying(pool, pay) as site:
        headers = {**site.bearer(), "Idempotency-Key": "k"}
        first = await post(site, headers)
        async with site.client.post("/pay/1", headers=headers, json={"amount": 1}) as answer:
            assert answer.headers["Location"] == "/payments/1"
            assert answer.headers["Content-Type"] == "application/json"
            again = answer.status, await answer.text()
        assert first == (201, '{"payment":1}', False)
        assert again == first[:2]
        # The same request, spelt differently.
        assert (await post(site, headers, b'{ "note": "", "amount": 1 }'))[2]
        assert done == ["k"]
        # Another caller's key is another key.
        assert (await post(site, {**site.bearer(), "Idempotency-Key": "k"}))[1] == '{"payment":2}'


async def test_a_key_that_is_not_demanded_is_honoured(pool: Pool) -> None:
    done = []

    async def create(call: Call) -> Reply:
        done.append(call.idempotency_key)
        return Reply(201, {"number": len(done)})

    endpoint = Endpoint(
        "POST", "/pay/{order_id}", create, "s", "t", roles=ANY_ROLE, body=Payment,
        replies={201: dict[str, int]},
    )  # fmt: skip
    async with served([endpoint], idempotency=IdempotencyStore(pool)) as site:
        key = {**site.bearer(), "Idempotency-Key": "k"}
        assert await post(site, key) == (201, '{"number":1}', False)
        assert await post(site, key) == (201, '{"number":1}', True)
        assert await post(site, site.bearer()) == (201, '{"number":2}', False)
        assert (await post(site, {**key, "Idempotency-Key": "x" * 256}))[0] == 400
    assert done == ["k", None]


async def test_another_request_under_the_key_is_refused(pool: Pool) -> None:
    async def pay(call: Call) -> Reply:
        return Reply(201, {"payment": 1})

    async with paying(pool, pay) as site:
        headers = {**site.bearer(), "Idempotency-Key": "k"}
        await post(site, headers)
        for body, path in (({"amount": 2}, "/pay/1"), ({"amount": 1}, "/pay/2")):
            status, problem, _ = await post(site, headers, body, path)
            assert (status, "idempotency_key_reused" in problem) == (422, True)


@pytest.mark.parametrize(
    ("key", "code"),
    [
        (None, "idempotency_key_missing"),
        ("", "idempotency_key_missing"),
        ("x" * 256, "idempotency_key_invalid"),
        ("tab\tin it", "idempotency_key_invalid"),
        ("é", "idempotency_key_invalid"),
    ],
)
async def test_a_key_that_is_none(pool: Pool, key: str | None, code: str) -> None:
    async def pay(call: Call) -> Reply:
        raise AssertionError("must not be reached")

    async with paying(pool, pay) as site:
        headers = site.bearer() | ({} if key is None else {"Idempotency-Key": key})
        status, problem, _ = await post(site, headers)
        assert (status, msgspec.json.decode(problem)["code"]) == (400, code)
    assert await pool.fetchval("SELECT count(*) FROM idempotency_keys") == 0


async def test_two_at_once_are_one_effect(pool: Pool) -> None:
    entered, go_on = asyncio.Event(), asyncio.Event()
    done = []

    async def pay(call: Call) -> Reply:
        done.append(1)
        entered.set()
        await go_on.wait()
        return Reply(201, {"payment": len(done)})

    async with paying(pool, pay) as site:
        headers = {**site.bearer(), "Idempotency-Key": "k"}
        first = asyncio.create_task(post(site, headers))
        await entered.wait()
        async with site.client.post("/pay/1", headers=headers, json={"amount": 1}) as answer:
            assert answer.status == 409
            assert (await answer.json(content_type=None))["code"] == "idempotency_in_flight"
            assert int(answer.headers["Retry-After"]) == 1, "the work may be done any moment"
        go_on.set()
        assert await first == (201, '{"payment":1}', False)
        assert await post(site, headers) == (201, '{"payment":1}', True)
        assert len(done) == 1


async def test_a_herd_of_the_same_request_is_one_effect(pool: Pool) -> None:
    done = []

    async def pay(call: Call) -> Reply:
        done.append(1)
        return Reply(201, {"payment": len(done)})

    async with paying(pool, pay) as site:
        headers = {**site.bearer(), "Idempotency-Key": "k"}
        answers = await asyncio.gather(*(post(site, headers) for _ in range(20)))
        assert {status for status, _, _ in answers} <= {201, 409}
        assert [body for status, body, replayed in answers if status == 201 and not replayed] == [
            '{"payment":1}'
        ]
        assert len(done) == 1


async def test_the_work_of_a_crashed_worker_is_taken_over(pool: Pool) -> None:
    store = IdempotencyStore(pool, lease_seconds=0.05)
    caller, fingerprint = uuid.uuid4(), fingerprint_of("POST", "/pay", b"{}")
    crashed = await store.claim(caller, "k", fingerprint)
    assert isinstance(crashed, Lease)
    with pytest.raises(Conflict):
        await store.claim(caller, "k", fingerprint)
    successor = await _claimed(store, caller, fingerprint)
    # The one that was thought dead comes back: it may neither answer nor free what it lost.
    await store.remember(crashed, Answer(201, b"late"))
    await store.free(crashed)
    await store.remember(successor, Answer(201, b"first"))
    kept = await store.claim(caller, "k", fingerprint)
    assert isinstance(kept, Answer)
    assert kept.content == b"first"


async def _claimed(store: IdempotencyStore, caller: uuid.UUID, fingerprint: bytes) -> Lease:
    async with asyncio.timeout(5):
        while True:
            try:
                claimed = await store.claim(caller, "k", fingerprint)
            except Conflict:
                continue
            assert isinstance(claimed, Lease)
            return claimed


async def test_a_lease_that_ran_out_is_not_for_another_request(pool: Pool) -> None:
    store = IdempotencyStore(pool, lease_seconds=0.0)
    caller = uuid.uuid4()
    await store.claim(caller, "k", b"one")
    with pytest.raises(InvalidInput):
        await store.claim(caller, "k", b"two")


@pytest.mark.parametrize("status", [200, 201, 204, 400, 404, 409, 410, 412, 422])
async def test_what_would_be_the_same_again_is_remembered(pool: Pool, status: int) -> None:
    assert await _runs(pool, status) == 1


@pytest.mark.parametrize("status", [401, 408, 423, 425, 429, 500, 503])
async def test_what_time_mends_is_not_remembered(pool: Pool, status: int) -> None:
    assert await _runs(pool, status) == 2


async def _runs(pool: Pool, status: int) -> int:
    """How often the work is done when the call comes twice."""
    store = IdempotencyStore(pool)
    caller = uuid.uuid4()
    runs = []

    async def work() -> Answer:
        runs.append(1)
        return Answer(status, b"body", content_type="application/problem+json", lines="A: b\r\n")

    first = await answered_once(store, caller, "k", b"f", work)
    again = await answered_once(store, caller, "k", b"f", work)
    assert (again.status, again.content, again.media_type) == (
        first.status, first.content, first.media_type,
    )  # fmt: skip
    assert again.lines.startswith("A: b\r\n")
    return len(runs)


async def test_a_refusal_that_names_a_time_to_come_again_is_not_remembered(pool: Pool) -> None:
    answers = iter([Conflict("not yet", code="not_yet", retry_after_seconds=1), None])

    async def pay(call: Call) -> Reply:
        if (refusal := next(answers)) is not None:
            raise refusal
        return Reply(201, {"payment": 1})

    async with paying(pool, pay) as site:
        headers = {**site.bearer(), "Idempotency-Key": "k"}
        assert (await post(site, headers))[0] == 409
        assert (await post(site, headers))[0] == 201


async def test_a_failure_inside_leaves_the_key_free(pool: Pool) -> None:
    outcomes = iter([RuntimeError("innards"), None])

    async def pay(call: Call) -> Reply:
        if failure := next(outcomes):
            raise failure
        return Reply(201, {"payment": 1})

    async with paying(pool, pay) as site:
        headers = {**site.bearer(), "Idempotency-Key": "k"}
        status, problem, _ = await post(site, headers)
        assert (status, "innards" in problem) == (500, False)
        assert await post(site, headers) == (201, '{"payment":1}', False)


async def test_the_answer_waits_for_a_caller_who_has_gone(pool: Pool) -> None:
    """The work goes on, far longer than a lease, and is done once."""
    entered, go_on, done = asyncio.Event(), asyncio.Event(), []

    async def pay(call: Call) -> Reply:
        entered.set()
        await go_on.wait()
        done.append(1)
        return Reply(201, {"payment": len(done)})

    async with paying(pool, pay, lease_seconds=0.3) as site:
        headers = {**site.bearer(), "Idempotency-Key": "k"}
        impatient = asyncio.create_task(post(site, headers))
        await entered.wait()
        impatient.cancel()
        await asyncio.wait({impatient})
        renewed = await _renewals(pool, 6)
        assert (await post(site, headers))[0] == 409
        assert renewed[-1] - renewed[0] > timedelta(seconds=0.3)
        go_on.set()
        async with asyncio.timeout(5):
            while (answer := await post(site, headers))[0] == 409:
                pass
        assert answer == (201, '{"payment":1}', True)
    assert done == [1]


async def _renewals(pool: Pool, count: int) -> list[datetime]:
    """The ends that the one lease there is has had, until there were ``count``."""
    seen: list[datetime] = []
    async with asyncio.timeout(5):
        while len(seen) < count:
            end = await pool.fetchval("SELECT locked_until FROM idempotency_keys")
            if end not in seen:
                seen.append(end)
    return seen


async def test_a_renewal_whose_reply_is_lost_loses_nothing(pool: Pool) -> None:
    store = IdempotencyStore(pool)
    caller = uuid.uuid4()
    lease = await store.claim(caller, "k", b"f")
    assert isinstance(lease, Lease)
    before = replace(lease)
    assert await store.renew(lease)
    # What the holder knows when it has asked, and was not answered.
    unsure = replace(before)
    unsure.may_be = (before.locked_until, lease.locked_until)
    assert await store.renew(unsure)
    assert not await store.renew(before), "who does not hold it any more cannot renew it"
    await store.remember(unsure, Answer(201, b"first"))
    kept = await store.claim(caller, "k", b"f")
    assert isinstance(kept, Answer)


async def test_work_that_cannot_be_renewed_is_given_up_before_its_lease_is_over(
    stores: BreakableStores,
) -> None:
    async with await connect_postgres(stores.database_url) as own:
        store = IdempotencyStore(own, lease_seconds=0.5)

        async def work() -> Answer:
            stores.database.pause()
            await asyncio.Event().wait()
            raise AssertionError("never set")

        began = time.monotonic()
        try:
            with pytest.raises(Unavailable):
                await answered_once(store, uuid.uuid4(), "k", b"f", work)
        finally:
            stores.database.resume()
        # A statement that is given up has a second to end in peace.
        assert time.monotonic() - began < 2.5


async def test_work_does_not_go_on_for_ever(pool: Pool) -> None:
    store = IdempotencyStore(pool, lease_seconds=0.2, work_seconds_max=0.5)

    async def work() -> Answer:
        await asyncio.Event().wait()
        raise AssertionError("never set")

    with pytest.raises(Unavailable):
        await answered_once(store, uuid.uuid4(), "k", b"f", work)


async def test_old_answers_are_forgotten_and_leases_in_force_are_not(pool: Pool) -> None:
    store = IdempotencyStore(pool, lease_seconds=60)
    caller = uuid.uuid4()
    for key in ("answered", "in flight", "fresh"):
        lease = await store.claim(caller, key, b"f")
        if key != "in flight":
            assert isinstance(lease, Lease)
            await store.remember(lease, Answer(201))
    await pool.execute(
        "UPDATE idempotency_keys SET created_at = now() - interval '2 days' WHERE key <> 'fresh'"
    )
    await pool.execute(
        "UPDATE idempotency_keys SET locked_until = now() - interval '1 day' WHERE key = 'answered'"
    )
    (job,) = jobs(store, retention_seconds=86400)
    assert await job.run() == 1
    kept = await pool.fetch("SELECT key FROM idempotency_keys ORDER BY key")
    assert [row["key"] for row in kept] == ["fresh", "in flight"]


async def test_without_the_database_the_work_is_not_begun(pool: Pool) -> None:
    async def pay(call: Call) -> Reply:
        raise AssertionError("must not be reached")

    async with paying(pool, pay) as site:
        await pool.close()
        status, problem, _ = await post(site, {**site.bearer(), "Idempotency-Key": "k"})
        assert (status, msgspec.json.decode(problem)["code"]) == (503, "database_unavailable")


def test_the_longest_work_fits() -> None:
    """A rebuild waits for the consumers, a payment for its order and the provider."""
    settings = make_settings()
    longest = max(
        settings.provider_timeout_seconds + settings.order_wait_seconds,
        settings.rebuild_drain_timeout_seconds,
    )
    assert longest < settings.idempotency_work_seconds_max
    # Three of them may fail before the work is given up, and a dead worker's key is soon free.
    assert RENEWING_SHARE_OF_LEASE * 3 <= WORKING_SHARE_OF_LEASE
    assert settings.idempotency_lease_seconds < 10


@pytest.mark.parametrize(("status", "runs"), [(503, 2), (201, 1)])
async def test_what_could_not_be_settled_is_settled_by_the_next_claim(
    stores: BreakableStores, status: int, runs: int
) -> None:
    async with await connect_postgres(stores.database_url) as own:
        store = IdempotencyStore(own)
        caller, done = uuid.uuid4(), []

        async def work() -> Answer:
            done.append(1)
            if len(done) == 1:
                await stores.database.kill()
            return Answer(status, b"body")

        first = await answered_once(store, caller, "k", b"f", work)
        with pytest.raises(DatabaseUnavailable):
            await answered_once(store, caller, "k", b"f", work)
        await stores.database.start()
        again = await answered_once(store, caller, "k", b"f", work)
        assert first.status == again.status == status
        assert len(done) == runs
