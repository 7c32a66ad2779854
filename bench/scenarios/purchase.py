"""An accepted purchase: what it costs the web worker and the store, beside floor and peers.

Ours is `flashorder serve` with one worker and everything on (20,000 buyers with a token each, all
seen once in the warm-up; a new Idempotency-Key a request; validation, limits, metrics;
`appendfsync always`). The floor is an aiohttp application that reads the same requests and answers
a constant. Peers make one EVALSHA a request with a leaner script, authenticate nobody, and their
store writes nothing to disk. The worker runs on a processor of its own; wrk and the stores share
the other. No consumer runs.

Ratios are formed within each turn and their median is told: worker µs against the floor's worker
µs; worker + store µs against each peer's; accepted a second against each peer's. `worker_busy`
near 1 says that the worker was what was saturated.
"""

from __future__ import annotations

from contextlib import AsyncExitStack

from bench.context import Context
from bench.figures import Contender, Kind, Outcome, Round, in_turn, kinds_of, ratio_claim
from bench.floors import running as floors
from bench.load.wrk import Purchases
from bench.peers import running as peers
from bench.peers.script import refill
from bench.processes import Program
from bench.stand import NO_LIMIT, PeerStore, Stand, open_peer_store, open_stand
from bench.web import http_round

TITLE = "an accepted purchase"
BUYERS = 20_000
UNITS = 100_000_000
SKU = "SKU-1"
OURS = "flashorder"


async def measure(context: Context) -> Outcome:
    """Floor, peers and ours in turn."""
    async with AsyncExitStack() as stack:
        stand = await stack.enter_async_context(open_stand(context.place("stand"), context.cores))
        lax = await stack.enter_async_context(open_peer_store(context.place("peer-store")))
        floor = await stack.enter_async_context(floors.floor_application(context))
        service = await stack.enter_async_context(stand.service(context.python))
        others = await stack.enter_async_context(peers.running_peers(context, lax))
        contenders = [
            floor_contender(context, floor, stand),
            *(_peer(context, name, program, lax) for name, program in others.programs.items()),
            _ours(context, stand, service),
        ]
        series = await in_turn(contenders, context.rounds, context.say)
    claims = ratio_claim(series, "worker_us", OURS, floors.NAME, limit=1.0)
    claims += ratio_claim(series, "together_us", OURS, peers.GO, limit=0.95)
    for other in (peers.NODE, peers.AIOHTTP, peers.FASTAPI):
        claims += ratio_claim(series, "together_us", OURS, other)
    claims += ratio_claim(series, "per_second", OURS, peers.AIOHTTP, limit=2.5, at_least=True)
    for other in (peers.GO, peers.NODE, peers.FASTAPI):
        claims += ratio_claim(series, "per_second", OURS, other)
    return Outcome(
        "purchase", TITLE, "together_us", series, kinds_of(contenders), claims, others.left_out
    )


def floor_contender(
    context: Context, floor: floors.Floor, stand: Stand, *, name: str = floors.NAME
) -> Contender:
    """The application that does nothing, given the very requests that ours is given."""
    what = Purchases(
        floor.port, floors.PATH, stand.buyers(BUYERS), f'{{"sku":"{SKU}","quantity":1}}'
    )

    async def measured() -> Round:
        figures = dict(await http_round(context, what, worker=floor.pids))
        return figures | {"together_us": figures["worker_us"]}

    return Contender(name, Kind.FLOOR, measured)


def _peer(context: Context, name: str, program: Program, lax: PeerStore) -> Contender:
    buyers = peers.peer_buyers(context.folder, BUYERS)
    what = Purchases(program.port, peers.PATH, buyers, f'{{"sku":"{SKU}","quantity":1}}')

    async def measured() -> Round:
        await refill(lax.redis, SKU, UNITS)
        return await http_round(context, what, worker=program.pid, store=lax.store.pid)

    return Contender(name, Kind.PEER, measured)


def _ours(context: Context, stand: Stand, service: Program) -> Contender:
    buyers = stand.buyers(BUYERS)

    async def measured() -> Round:
        sale = await stand.fresh_sale(UNITS, per_buyer_limit=NO_LIMIT)
        what = stand.purchases(sale, buyers, service.port)
        return await http_round(context, what, worker=service.pid, store=stand.store.pid)

    return Contender(OURS, Kind.OURS, measured)
