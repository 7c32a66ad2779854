"""``/v1/admin/reconciliations``."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Annotated

import msgspec

from flashorder.infra.http.endpoint import Call, Endpoint, Reply, Role
from flashorder.infra.http.pagination import PageQuery, page_reply, read_cursor
from flashorder.inventory.reconciliation.model import Correction, ItemResult, Reconciliation
from flashorder.inventory.reconciliation.service import ReconciliationService
from flashorder.kernel.clock import rfc3339

_TAG = "reconciliations"
_ROLES = frozenset({Role.OPERATOR})


class ReconciliationRequest(msgspec.Struct, forbid_unknown_fields=True):
    """What to hold against each other; without ``sale_id`` every sale at the front."""

    sale_id: uuid.UUID | None = None
    cause: Annotated[str, msgspec.Meta(min_length=1, max_length=200)] = "operator"


class ItemBody(msgspec.Struct):
    """Units of one SKU: available + applied + unreleased + in_stream + dead_letters = allotted."""

    sale_id: uuid.UUID
    sku: str
    verdict: str
    available: int
    sold: int
    applied: int
    unreleased: int
    in_stream: int
    dead_letters: int
    allotted: int
    drift: int


class CorrectionBody(msgspec.Struct):
    """An adjustment of the front's stock; ``outcome`` null: the front has not answered yet."""

    correction_id: uuid.UUID
    sale_id: uuid.UUID
    sku: str
    quantity: int
    outcome: str | None


class ReconciliationHead(msgspec.Struct):
    """One run in a list."""

    reconciliation_id: uuid.UUID
    status: str
    cause: str
    drift_units: int
    started_at: str
    finished_at: str


class ReconciliationBody(ReconciliationHead):
    """One run with its items and what it led to."""

    items: list[ItemBody]
    corrections: list[CorrectionBody]


class ReconciliationPage(msgspec.Struct):
    """A page of runs, newest first."""

    items: list[ReconciliationHead]
    next_cursor: str | None = None


def endpoints(service: ReconciliationService) -> list[Endpoint]:
    """The calls of this room."""

    async def run(call: Call) -> Reply:
        body: ReconciliationRequest = call.body
        done = await service.run(
            cause=body.cause, requested_by=call.caller.account_id, sale_id=body.sale_id
        )
        where = {"Location": f"/v1/admin/reconciliations/{done.reconciliation_id}"}
        return Reply(201, reconciliation_body(done, []), where)

    async def correct(call: Call) -> Reply:
        reconciliation_id = call.path_id("reconciliation_id")
        await service.correct(reconciliation_id)
        return Reply(200, reconciliation_body(*await service.find(reconciliation_id)))

    async def find(call: Call) -> Reply:
        found = await service.find(call.path_id("reconciliation_id"))
        return Reply(200, reconciliation_body(*found))

    async def page(call: Call) -> Reply:
        below = read_cursor(call.query.cursor, (uuid.UUID,))
        rows = await service.page(below[0] if below else None, call.query.limit + 1)
        return page_reply(
            call,
            rows,
            key=lambda row: (row["reconciliation_id"],),
            show=lambda row: _head(**row),
        )

    one = "/v1/admin/reconciliations/{reconciliation_id}"
    return [
        Endpoint(
            "POST",
            "/v1/admin/reconciliations",
            run,
            "Hold both stores against each other",
            _TAG,
            _ROLES,
            body=ReconciliationRequest,
            replies={201: ReconciliationBody},
            headers=("Location",),
            idempotent=True,
        ),
        Endpoint(
            "GET",
            "/v1/admin/reconciliations",
            page,
            "List reconciliations, newest first",
            _TAG,
            _ROLES,
            query=PageQuery,
            replies={200: ReconciliationPage},
        ),
        Endpoint(
            "GET",
            one,
            find,
            "Read one reconciliation with its items and corrections",
            _TAG,
            _ROLES,
            replies={200: ReconciliationBody},
            problems={404: ("reconciliation_not_found",)},
        ),
        Endpoint(
            "POST",
            f"{one}/correct",
            correct,
            "Adjust the front by the drifts that this reconciliation found",
            _TAG,
            _ROLES,
            replies={200: ReconciliationBody},
            problems={404: ("reconciliation_not_found",), 409: ("reconciliation_stale",)},
            idempotent=True,
        ),
    ]


def reconciliation_body(run: Reconciliation, corrections: list[Correction]) -> ReconciliationBody:
    """The wire form of one run; also what ``flashorder reconcile --json`` prints."""
    return ReconciliationBody(
        reconciliation_id=run.reconciliation_id,
        status=run.status,
        cause=run.cause,
        drift_units=run.drift_units,
        started_at=rfc3339(run.started_at),
        finished_at=rfc3339(run.finished_at),
        items=[_item(item) for item in run.items],
        corrections=[
            CorrectionBody(each.correction_id, each.sale_id, each.sku, each.quantity, each.outcome)
            for each in corrections
        ],
    )


def _item(item: ItemResult) -> ItemBody:
    reading = item.reading
    return ItemBody(
        sale_id=reading.sale_id,
        sku=reading.sku,
        verdict=str(item.verdict),
        available=reading.available,
        sold=reading.sold,
        applied=reading.applied,
        unreleased=reading.unreleased,
        in_stream=reading.in_stream,
        dead_letters=reading.dead_letters,
        allotted=reading.allotted,
        drift=item.drift,
    )


def _head(
    *,
    reconciliation_id: uuid.UUID,
    cause: str,
    requested_by: uuid.UUID | None,
    started_at: datetime,
    finished_at: datetime,
    status: str,
    drift_units: int,
) -> ReconciliationHead:
    del requested_by  # who asked is for the audit, not for the list
    return ReconciliationHead(
        reconciliation_id,
        status,
        cause,
        drift_units,
        rfc3339(started_at),
        rfc3339(finished_at),
    )
