"""The main job: a whole flash sale on real products, with people who pay, decline and forget.

    python -m loadtest.first_sale [--kill consumer|web|store] [--report DIR]

Starts a flashorder of its own, opens a sale of five real products at one moment, lets every shopper
fire at the opening, and follows each to the end. Then everything is counted, in both stores and in
the provider's books, and held against what the shoppers were told. Exit code 1 when anything does
not hold.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import aiohttp

from loadtest.books import Books, read_books
from loadtest.deployment import Deployment, a_deployment, pid_of
from loadtest.figures import as_markdown, latency_ms, machine
from loadtest.killer import kill_when_sold
from loadtest.monitor import Monitor, Sample, applied_lag_seconds
from loadtest.shopper import Pays, Plan, Shop, Shopper, Visit

WANTED_PRODUCTS = ("85123A", "22423", "85099B", "47566", "84879")
"""The sellers that the data is known for: heart holder, cake stand, jumbo bag, bunting, bird."""
PER_BUYER_LIMIT = 2
ROLES = ("consumer", "web", "store", "database", "worker")


@dataclass(frozen=True, slots=True)
class Scenario:
    """One run. ``kill``: the role that dies once a third of the units is taken."""

    units: int = 1000
    shoppers: int = 2000
    payment_window_seconds: int = 25
    open_after_seconds: float = 6.0
    patience_seconds: float = 45.0
    lasts_seconds: float = 120.0
    workers: int = 1
    poll_seconds: float = 2.0
    seed: int = 1
    kill: str | None = None

    @property
    def title(self) -> str:
        """For the page."""
        if self.kill is None:
            return "The whole sale"
        return f"The whole sale, {self.kill} killed in the middle"


@dataclass(slots=True)
class Killed:
    """What a death did to the shoppers."""

    role: str
    after_seconds: float
    units_sold_before: int
    back_seconds: float = -1.0
    next_accepted_seconds: float = -1.0


async def run(scenario: Scenario, log: Path | None = None) -> dict[str, Any]:
    """The figures of one run, with ``problems``: a line for everything that does not hold."""
    settings = {
        "FLASHORDER_COMPLETION_DELAY_SECONDS": "1",
        "FLASHORDER_AUTOPILOT_PAUSE_SECONDS": "0.2",
    }
    async with (
        a_deployment(workers=scenario.workers, settings=settings, log=log) as deployment,
        aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=60)
        ) as session,
    ):
        await _hurry_the_carrier(session, deployment)
        operator = (await deployment.tokens(1, "operator"))[0]
        tokens = await deployment.tokens(scenario.shoppers)
        sale, opening = await _open_sale(session, deployment, operator, scenario)
        shop = Shop(
            session,
            deployment.url,
            sale["sale_id"],
            opening,
            opening + scenario.lasts_seconds,
            opening + scenario.patience_seconds,
            scenario.poll_seconds,
        )
        skus = [item["sku"] for item in sale["items"]]
        shoppers = [
            Shopper(shop, token, _plan(random.Random(f"{scenario.seed}/{n}"), skus),
                    random.Random(f"{scenario.seed}/{n}/acts"))
            for n, token in enumerate(tokens)
        ]  # fmt: skip
        monitor = Monitor(
            deployment.state["redis_url"],
            deployment.state["database_url"],
            shop.sale_id,
            lambda: len(shop.accepted_at),
        )
        watching = asyncio.create_task(monitor.run(opening))
        death = asyncio.create_task(_kill_in_the_middle(deployment, shop, scenario))
        visits = await asyncio.gather(*(shopper.go() for shopper in shoppers))
        killed = await death
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        verified = await deployment.verify(settle_seconds=60)
        books = await read_books(session, deployment.state, shop.sale_id)
    figures = _figures(scenario, shop, visits, books, verified, killed, monitor.samples)
    figures["problems"] = _problems(scenario, visits, books, verified)
    return figures


async def _hurry_the_carrier(session: aiohttp.ClientSession, deployment: Deployment) -> None:
    url = f"{deployment.state['carrier_url']}/control"
    async with session.put(url, json={"pace_ms": 200}) as response:
        response.raise_for_status()


async def _open_sale(
    session: aiohttp.ClientSession, deployment: Deployment, operator: str, scenario: Scenario
) -> tuple[dict[str, Any], float]:
    """Create and open the sale; its opening by time.monotonic()."""
    headers = {"Authorization": f"Bearer {operator}", "Idempotency-Key": "create"}
    starts_at = datetime.now(UTC) + timedelta(seconds=scenario.open_after_seconds)
    opening = time.monotonic() + scenario.open_after_seconds
    share, rest = divmod(scenario.units, len(WANTED_PRODUCTS))
    body = {
        "title": "First sale",
        "starts_at": starts_at.isoformat(),
        "ends_at": (starts_at + timedelta(hours=1)).isoformat(),
        "payment_window_seconds": scenario.payment_window_seconds,
        "items": [
            {
                "sku": sku,
                "quantity": share + (1 if number < rest else 0),
                "unit_price": {"amount": 199 + 100 * number, "currency": "GBP"},
                "per_buyer_limit": PER_BUYER_LIMIT,
            }
            for number, sku in enumerate(WANTED_PRODUCTS)
        ],
    }
    url = f"{deployment.url}/v1/admin/sales"
    async with session.post(url, json=body, headers=headers) as response:
        sale: dict[str, Any] = await response.json()
        assert response.status == 201, sale
    headers["Idempotency-Key"] = "open"
    async with session.post(f"{url}/{sale['sale_id']}/open", json={}, headers=headers) as response:
        assert response.status == 200, await response.text()
    return sale, opening


def _plan(chance: random.Random, skus: list[str]) -> Plan:
    """Four fifths pay, a tenth forgets; the first product is the one that most people want."""
    weights = [5, 3, 2, 1, 1]
    first = chance.choices(skus, weights)[0]
    rest = [sku for sku in skus if sku != first]
    chance.shuffle(rest)
    pays = chance.choices(
        [Pays.APPROVES, Pays.DECLINED_THEN_APPROVES, Pays.DECLINED, Pays.NEVER], [76, 6, 7, 11]
    )[0]
    return Plan(
        skus=(first, *rest[: chance.randint(0, 2)]),
        quantity=chance.choices([1, 2], [7, 3])[0],
        pays=pays,
        double_clicks=chance.random() < 0.15,
        comes_back=chance.random() < 0.4,
    )


async def _kill_in_the_middle(
    deployment: Deployment, shop: Shop, scenario: Scenario
) -> Killed | None:
    """``kill -9`` once a third of the units is taken; when the role and the sales are back."""
    if scenario.kill is None:
        return None
    state = deployment.state
    pid = pid_of(state, scenario.kill)
    done = await kill_when_sold(state["redis_url"], shop.sale_id, scenario.units // 3, pid)
    if done is None:
        return None
    at, sold = done[0] - shop.opening, done[1]
    killed = Killed(scenario.kill, round(at, 2), sold)
    while not shop.over:
        await asyncio.sleep(0.02)
        if killed.back_seconds < 0 and _is_back(deployment, scenario.kill, pid):
            killed.back_seconds = round(shop.since_opening() - at, 2)
        if killed.back_seconds >= 0 and killed.next_accepted_seconds < 0:
            # Answers that were on their way when the signal was sent do not count; and without
            # a consumer or a database the front sells on.
            blind_seconds = killed.back_seconds if scenario.kill in ("web", "store") else 0.0
            later = [each for each in shop.accepted_at if each > at + blind_seconds]
            if later:
                killed.next_accepted_seconds = round(min(later) - at, 2)
        if killed.back_seconds >= 0 and killed.next_accepted_seconds >= 0:
            break
    return killed


def _is_back(deployment: Deployment, role: str, pid: int) -> bool:
    now = deployment.state["pids"][role]
    return bool(now) and pid not in (now if isinstance(now, list) else [now])


def _figures(
    scenario: Scenario,
    shop: Shop,
    visits: Sequence[Visit],
    books: Books,
    verified: dict[str, Any],
    killed: Killed | None,
    samples: list[Sample],
) -> dict[str, Any]:
    latencies = [each for visit in visits for each in visit.buy_latencies_seconds]
    decided = sorted(visit.decided_at for visit in visits if visit.decided_at is not None)
    burst_seconds = max(decided[int(len(decided) * 0.5)], 0.01) if decided else 1.0
    in_burst = sum(1 for each in decided if each <= burst_seconds)
    delivered = [
        visit.ended_at - visit.accepted_at
        for visit in visits
        if visit.status == "completed" and visit.ended_at and visit.accepted_at
    ]
    gone = next((each.at for each in samples if each.units_in_stock == 0), None)
    accepted = [order for visit in visits for order in visit.order_ids]
    retries = sum((visit.retries for visit in visits), Counter[str]())
    return {
        "title": scenario.title,
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "scenario": asdict(scenario),
        "shoppers": scenario.shoppers,
        "products": len(WANTED_PRODUCTS),
        "units": {
            "offered": scenario.units,
            "with_buyers": books.live_units,
            "in_stock": books.in_stock,
        },
        "orders": {
            "accepted": len(accepted),
            "in_postgresql": len(books.order_ids),
            "completed": books.live_statuses.get("completed", 0),
            "live": books.live_statuses,
            "cancelled": books.cancelled_orders,
            "most_of_a_buyer": books.most_of_a_buyer,
            "per_buyer_limit": PER_BUYER_LIMIT,
        },
        "money": {
            "captured": books.captured_amount,
            "refunded": books.refunded_amount,
            "paid_orders": books.paid_amount,
        },
        "refusals": dict(sum((visit.refusals for visit in visits), Counter[str]())),
        "retries": sum(retries.values()),
        "retries_by_cause": dict(retries),
        "timing": {
            "buy_ms": latency_ms(latencies),
            "decided_per_second": round(in_burst / burst_seconds),
            "first_wave_seconds": None if gone is None else round(gone, 2),
            "applied_lag_seconds": applied_lag_seconds(samples, shop.accepted_at),
            "delivered_median_seconds": round(median(delivered), 1) if delivered else None,
        },
        "killed": asdict(killed) if killed else None,
        "verify": {
            "checks": len(verified["checks"]),
            "violated": sum(1 for check in verified["checks"] if check["violations"]),
        },
        "samples": [asdict(each) for each in samples],
    }


def _problems(
    scenario: Scenario, visits: Sequence[Visit], books: Books, verified: dict[str, Any]
) -> list[str]:
    """A line for everything that does not hold."""
    found = [
        f"verify: {check['room']}.{check['name']}: {check['violations']} {check['examples']}"
        for check in verified["checks"]
        if check["violations"]
    ]
    if books.live_units + books.in_stock != scenario.units:
        found.append(
            f"{books.live_units} units with buyers and {books.in_stock} in stock are not "
            f"{scenario.units}"
        )
    if books.most_of_a_buyer > PER_BUYER_LIMIT:
        found.append(f"a buyer has {books.most_of_a_buyer} units")
    told = [order for visit in visits for order in visit.order_ids]
    if len(set(told)) != len(told):
        found.append("two shoppers were told the same order")
    if lost := set(told) - books.order_ids:
        found.append(f"{len(lost)} accepted orders are not in PostgreSQL: {sorted(lost)[:5]}")
    # A shopper who went home before an answer came may have an order that nobody was told of.
    unknown = len(books.order_ids - set(told))
    unanswered = sum(1 for visit in visits if visit.unanswered)
    if unknown > unanswered:
        found.append(f"{unknown} orders that no shopper was told of")
    if any(len(set(visit.double_order_ids)) > len(visit.order_ids) for visit in visits):
        found.append("a double click made two orders")
    if books.captured_amount - books.refunded_amount != books.paid_amount:
        found.append(
            f"captured {books.captured_amount} - refunded {books.refunded_amount} is not "
            f"{books.paid_amount}"
        )
    unfinished = {s: n for s, n in books.live_statuses.items() if s != "completed"}
    if unfinished:
        found.append(f"orders that have not come to an end: {unfinished}")
    if not told:
        found.append("nobody bought anything")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it and tell; the exit code."""
    parser = argparse.ArgumentParser(prog="loadtest.first_sale", description=__doc__)
    parser.add_argument("--units", type=int, default=1000)
    parser.add_argument("--shoppers", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=1, help="web workers")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kill", choices=ROLES, action="append", help="may be given repeatedly")
    parser.add_argument("--all", action="store_true", help="plain, then each role killed")
    parser.add_argument("--report", type=Path, help="folder for first-sale.json and .md")
    given = parser.parse_args(arguments)
    kills: list[str | None] = list(given.kill or [None])
    if given.all:
        kills = [None, "consumer", "web", "store"]
    runs = []
    for kill in kills:
        scenario = Scenario(
            units=given.units,
            shoppers=given.shoppers,
            workers=given.workers,
            seed=given.seed,
            kill=kill,
        )
        sys.stderr.write(f"{scenario.title} …\n")
        figures = asyncio.run(run(scenario))
        runs.append(figures)
        for problem in figures["problems"]:
            sys.stderr.write(f"  does not hold: {problem}\n")
        shown = {name: value for name, value in figures.items() if name != "samples"}
        sys.stdout.write(json.dumps(shown, indent=2) + "\n")
    if given.report:
        given.report.mkdir(parents=True, exist_ok=True)
        told = [{name: each[name] for name in each if name != "samples"} for each in runs]
        (given.report / "first-sale.json").write_text(json.dumps(told, indent=1) + "\n")
        (given.report / "first-sale.md").write_text(as_markdown(runs))
    return 1 if any(each["problems"] for each in runs) else 0


if __name__ == "__main__":
    sys.exit(main())
