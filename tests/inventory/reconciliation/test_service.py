"""A drift is told when two readings agree, and put right once when somebody asks for it."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import capture_logs

from flashorder.inventory.reconciliation import service, store
from flashorder.inventory.reconciliation.model import Verdict
from flashorder.kernel.errors import InvalidState, NotFound
from tests.inventory.reconciliation.desk import Desk


async def corrections(desk: Desk) -> int:
    return int(await desk.pool.fetchval("SELECT count(*) FROM stock_corrections"))


async def test_a_balanced_run_is_kept_and_read_back(desk: Desk) -> None:
    await desk.buy(2)
    run = await desk.service.run(cause="test", requested_by=uuid.uuid4())
    assert run.status == "balanced"
    found, none = await desk.service.find(run.reconciliation_id)
    assert none == []
    assert found.items[0].reading.in_stream == 2
    assert found.items[0].reading.available == 98
    assert [row["reconciliation_id"] for row in await desk.service.page(None, 10)] == [
        run.reconciliation_id
    ]
    assert await desk.service.page(run.reconciliation_id, 10) == []


@pytest.mark.parametrize("hours", [1, -1])
async def test_a_run_is_dated_by_the_clock_that_dates_corrections(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    wrong = lambda: datetime.now(UTC) + timedelta(hours=hours)  # noqa: E731
    for module in (service, store):
        monkeypatch.setattr(module, "utc_now", wrong, raising=False)
    before = await desk.pool.fetchval("SELECT clock_timestamp()")
    run = await desk.service.run(cause="test")
    after = await desk.pool.fetchval("SELECT clock_timestamp()")
    assert before < run.started_at < run.finished_at < after
    kept, _ = await desk.service.find(run.reconciliation_id)
    assert (kept.started_at, kept.finished_at) == (run.started_at, run.finished_at)
    assert await desk.service.correct(run.reconciliation_id) == []


@pytest.mark.parametrize("lost", [3, -3])
async def test_a_drift_is_corrected_once(desk: Desk, lost: int) -> None:
    await desk.buy()
    await desk.lose(lost)
    run = await desk.service.run(cause="test")
    assert (run.status, run.drift_units, run.items[0].drift) == ("drifting", 3, -lost)
    assert desk.registry.get_sample_value("flashorder_stock_drift_units") == 3
    assert desk.registry.get_sample_value("flashorder_reconciliation_age_seconds") < 60
    assert await desk.available() == 99 - lost, "finding it changes nothing"

    (done,) = await desk.service.correct(run.reconciliation_id)
    assert (done.quantity, done.outcome) == (lost, "applied")
    assert await desk.available() == 99
    assert await desk.service.correct(run.reconciliation_id) == [done], "again: nothing new"
    assert await desk.available() == 99

    after = await desk.service.run(cause="test")
    assert after.status == "balanced"
    assert await desk.service.correct(after.reconciliation_id) == []
    assert await corrections(desk) == 1


async def test_two_runs_that_saw_the_same_drift_correct_it_once(desk: Desk) -> None:
    await desk.lose(3)
    runs = [await desk.service.run(cause="test") for _ in range(2)]
    for run in runs:
        await desk.service.correct(run.reconciliation_id)
    assert await desk.available() == 100
    assert await corrections(desk) == 1


async def test_a_correction_cut_short_is_finished_once(desk: Desk) -> None:
    await desk.lose(3)
    run = await desk.service.run(cause="test")
    await desk.service.correct(run.reconciliation_id)
    await desk.pool.execute(
        "UPDATE stock_corrections SET outcome = NULL, applied_at = NULL"
    )  # the answer was lost with the process that waited for it
    assert (await desk.service.run(cause="test")).status == "balanced", "it may be in flight"
    assert await desk.service.finish_corrections() == 1
    assert await desk.service.finish_corrections() == 0
    assert await desk.available() == 100


async def test_a_sale_that_the_front_lost_is_told(desk: Desk) -> None:
    await desk.redis.delete(*desk.keys.all())
    run = await desk.service.run(cause="test")
    assert [item.verdict for item in run.items] == [Verdict.FRONT_MISSING]
    assert (run.status, run.drift_units) == ("drifting", 0)
    assert desk.registry.get_sample_value("flashorder_front_missing_items") == 1
    assert await desk.service.correct(run.reconciliation_id) == []
    await desk.pool.execute("UPDATE sales SET status = 'settled'")
    await desk.service.run(cause="test")
    assert desk.registry.get_sample_value("flashorder_front_missing_items") == 0


async def test_a_lost_sale_is_one_line_in_the_log(desk: Desk) -> None:
    await desk.pool.execute(
        "INSERT INTO products (sku, name, unit_price_amount, currency) "
        "VALUES ('OTHER', 'LANTERN', 255, 'GBP')"
    )
    await desk.pool.execute(
        "INSERT INTO sale_items (sale_id, sku, unit_price_amount, per_buyer_limit, allotted) "
        "VALUES ($1, 'OTHER', 255, 5, 10)",
        desk.sale_id,
    )
    await desk.redis.delete(*desk.keys.all())
    with capture_logs() as entries:
        await desk.service.run(cause="test")
    (told,) = [entry for entry in entries if entry["event"] == "stock_drift"]
    assert (told["sale_id"], told["items"]) == (str(desk.sale_id), 2)


async def test_another_generation_at_the_front_proves_nothing(desk: Desk) -> None:
    await desk.pool.execute("UPDATE sales SET generation = 2")
    run = await desk.service.run(cause="test")
    assert run.status == "inconclusive"


async def test_an_old_run_is_not_acted_on(desk: Desk) -> None:
    await desk.lose(3)
    run = await desk.service.run(cause="test")
    await desk.pool.execute(
        "UPDATE reconciliations SET started_at = 'epoch', finished_at = 'epoch'"
    )
    with pytest.raises(InvalidState):
        await desk.service.correct(run.reconciliation_id)
    with pytest.raises(NotFound):
        await desk.service.correct(uuid.uuid4())
    assert await corrections(desk) == 0


async def test_old_balanced_runs_are_forgotten_but_the_newest(desk: Desk) -> None:
    for _ in range(3):
        await desk.service.run(cause="test")
    await desk.lose(1)
    drifting = await desk.service.run(cause="test")
    await desk.service.correct(drifting.reconciliation_id)
    newest = await desk.service.run(cause="test")
    await desk.pool.execute(
        "UPDATE reconciliations SET started_at = 'epoch', finished_at = 'epoch'"
    )
    assert await desk.service.prune(60.0, 60.0, 100) == 3
    left = await desk.service.page(None, 10)
    assert [row["reconciliation_id"] for row in left] == [
        newest.reconciliation_id,
        drifting.reconciliation_id,
    ]


async def test_runs_that_did_not_balance_are_kept_longer_and_then_forgotten(desk: Desk) -> None:
    await desk.lose(1)
    for _ in range(3):
        await desk.service.run(cause="test")
    newest = await desk.service.run(cause="test")
    await desk.pool.execute(
        "UPDATE reconciliations SET started_at = now() - interval '1 hour',"
        " finished_at = now() - interval '1 hour'"
    )
    assert await desk.service.prune(60.0, 7200.0, 100) == 0
    assert await desk.service.prune(60.0, 1800.0, 2) == 2, "bounded"
    assert await desk.service.prune(60.0, 1800.0, 100) == 1
    (left,) = await desk.service.page(None, 10)
    assert left["reconciliation_id"] == newest.reconciliation_id
