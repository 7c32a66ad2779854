"""Flame graphs of the web worker and of the consumer under load, as SVG.

``python -m bench.flames [FOLDER]`` (default docs/flames); needs wrk, and py-spy (PyPI), which
samples a process from outside and slows it: the widths tell, the sums do not.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from bench.context import Context
from bench.cores import available_cores, divide, stay_on
from bench.draining import drain
from bench.load.wrk import drive, require_wrk
from bench.processes import PROJECT, run_to_end
from bench.reserving import reserve_orders
from bench.scenarios.purchase import BUYERS, UNITS
from bench.stand import NO_LIMIT, Sale, Stand, open_stand
from bench.web import buy_once
from flashorder.kernel.errors import Misconfigured

SAMPLES_PER_SECOND = 400
SECONDS = 6
DRAINED_ORDERS = 200_000


def require_py_spy() -> str:
    """Where py-spy is; ``Misconfigured`` says how to get it."""
    beside = Path(sys.executable).with_name("py-spy")
    found = str(beside) if beside.exists() else shutil.which("py-spy")
    if found is None:
        raise Misconfigured(f"py-spy is missing: {sys.executable} -m pip install py-spy")
    return found


async def record(pid: int, to: Path, title: str) -> None:
    """Sample ``pid`` for ``SECONDS`` and draw the picture."""
    await run_to_end(
        [
            *(require_py_spy(), "record", "--pid", str(pid), "--duration", str(SECONDS)),
            *("--rate", str(SAMPLES_PER_SECOND), "--format", "flamegraph", "--output", str(to)),
        ],
        cores=tuple(available_cores()),
        timeout_seconds=SECONDS + 60.0,
    )
    _entitle(to, title)


def _entitle(picture: Path, title: str) -> None:
    # py-spy's title is its own command line.
    drawn = re.sub(r">[^<>]*py-spy record[^<>]*<", f">{title}<", picture.read_text("utf-8"))
    picture.write_text(drawn.replace(f"{PROJECT}/", ""), encoding="utf-8")


@asynccontextmanager
async def _loaded(context: Context, stand: Stand, sale: Sale, port: int) -> AsyncIterator[None]:
    what = stand.purchases(sale, stand.buyers(BUYERS), port)
    await drive(what, seconds=2, connections=context.connections, cores=context.cores.load)
    load = asyncio.create_task(
        drive(what, seconds=SECONDS + 3, connections=context.connections, cores=context.cores.load)
    )
    try:
        yield
    finally:
        await load


async def _worker(context: Context, stand: Stand, folder: Path) -> None:
    async with stand.service(context.python) as service:
        sale = await stand.fresh_sale(UNITS, per_buyer_limit=NO_LIMIT)
        async with _loaded(context, stand, sale, service.port):
            await record(service.pid, folder / "purchase.svg", "web worker, accepted purchases")
        sale = await stand.fresh_sale(1)
        await buy_once(stand.purchases(sale, stand.buyers(BUYERS), service.port))
        async with _loaded(context, stand, sale, service.port):
            await record(service.pid, folder / "refusal.svg", "web worker, sold-out refusals")


async def _consumer(context: Context, stand: Stand, folder: Path) -> None:
    sale = await stand.fresh_sale(UNITS)
    await reserve_orders(context, stand, sale, DRAINED_ORDERS)
    recording = []

    def watch(pid: int) -> None:
        to = folder / "drain.svg"
        recording.append(asyncio.ensure_future(record(pid, to, "consumer, draining the stream")))

    await drain(context, stand, sale, DRAINED_ORDERS, on_first_rows=watch)
    await asyncio.gather(*recording)


async def _draw(folder: Path) -> None:
    require_wrk()
    require_py_spy()
    mine = available_cores()
    cores = divide(mine, 1)
    stay_on(cores.load)
    with tempfile.TemporaryDirectory(prefix="flashorder-flames-") as place:
        context = Context(
            rounds=1,
            seconds=SECONDS,
            connections=128,
            orders_behind=0,
            overload_seconds=0.0,
            cores=cores,
            folder=Path(place),
            say=print,
        )
        async with open_stand(context.place("stand"), cores) as stand:
            await _worker(context, stand, folder)
            await _consumer(context, stand, folder)


def main() -> None:
    """Draw all of them."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/flames")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        asyncio.run(_draw(folder))
        print(*sorted(folder.glob("*.svg")), sep="\n")
    except Misconfigured as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
