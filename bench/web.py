"""A round of HTTP load, and what it cost each process."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

import aiohttp

from bench.accounting import Meter
from bench.context import Context
from bench.figures import Round
from bench.load.wrk import Driven, Purchases, drive
from bench.processes import HOST, ProgramFailed

# Answers that are not what the scenario is about; the last ones are cut off when time is up.
SHARE_OF_OTHERS_MAX = 0.001


async def http_round(
    context: Context,
    what: Purchases,
    *,
    worker: int | Sequence[int],
    store: int | None = None,
    counted: str = "accepted",
    warm: bool = True,
) -> Round:
    """Drive ``what``; CPU µs an answer of the worker and the store, rate, latency, who was busy.

    ``counted``: ``accepted`` or ``refused``, the kind of answer that all must be; the round fails
    otherwise, because a mixture would be a figure of nothing. ``worker`` may be several pids.
    """
    workers = [worker] if isinstance(worker, int) else list(worker)
    if warm:
        await _drive(context, what, context.warm_seconds)
    meter = Meter({"worker": workers, "store": [] if store is None else [store]})
    driven = await _drive(context, what, context.seconds)
    used = meter.used_seconds()
    count = _checked(driven, counted, what)
    figures = {"worker_us": used["worker"] / count * 1e6}
    if store is not None:
        figures["store_us"] = used["store"] / count * 1e6
        figures["together_us"] = figures["worker_us"] + figures["store_us"]
    figures |= {
        "per_second": count / driven.seconds,
        "p50_ms": driven.p50_ms,
        "p99_ms": driven.p99_ms,
        "worker_busy": used["worker"] / driven.seconds,
        "load_busy": driven.cpu_seconds / driven.seconds,
    }
    if store is not None:
        figures["store_busy"] = used["store"] / driven.seconds
    return figures


async def buy_once(what: Purchases) -> int:
    """One purchase of the first buyer, as soon as the service knows the sale; its status."""
    with what.buyers.open(encoding="ascii") as lines:
        name, _, value = next(lines).strip().partition(": ")
    headers = {name: value, "Content-Type": "application/json"}
    url = f"http://{HOST}:{what.port}{what.path}"
    async with aiohttp.ClientSession(headers=headers) as session:
        key = {"Idempotency-Key": secrets.token_hex(8)}
        async with session.post(url, data=what.body.encode(), headers=key) as answer:
            if answer.status != 202:
                raise ProgramFailed(f"{what.path}: {answer.status} {await answer.text()}")
            return answer.status


async def _drive(context: Context, what: Purchases, seconds: float) -> Driven:
    return await drive(
        what, seconds=seconds, connections=context.connections, cores=context.cores.load
    )


def _checked(driven: Driven, counted: str, what: Purchases) -> int:
    count, others = driven.accepted, driven.refused
    if counted == "refused":
        count, others = others, count
    if count == 0 or others + driven.broken > count * SHARE_OF_OTHERS_MAX:
        raise ProgramFailed(
            f"{what.path} on port {what.port}: {driven.accepted} accepted, {driven.refused} "
            f"refused, {driven.broken} without an answer, where all were to be {counted}"
        )
    return count
