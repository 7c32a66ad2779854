"""What Locust's visitors make of answers, in a process of its own: Locust patches sockets."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[2]
SCRIPT = """
from contextlib import contextmanager
from types import SimpleNamespace
import json, random, time
from loadtest import journeys
from loadtest.journeys import Bot, Impatient, Shopper

told, waited = [], []
journeys.gevent = SimpleNamespace(sleep=waited.append)

def visitor(kind, *answers):
    one = kind.__new__(kind)
    one.token = "token"
    one.chance = random.Random(4)
    rest = list(answers)

    @contextmanager
    def rest_call(method, path, name, body, headers):
        status, body, headers = rest.pop(0)
        yield SimpleNamespace(
            status_code=status, headers=headers, json=lambda: body,
            success=lambda: told.append("success"), failure=told.append,
        )

    one.rest_call = rest_call
    return one

unknown = (404, {"code": "sale_not_found"}, {})
assert visitor(Shopper, unknown).look() == {}
assert told == ["404 sale_not_found"], told
for kind in (Shopper, Bot, Impatient):
    one = visitor(kind, unknown)
    one.journey()
    assert min(one.wait_time() for _ in range(100)) >= 1.0
told.clear()
sold_out = (409, {"code": "sold_out"}, {})
assert visitor(Shopper, sold_out).buy("SKU", 1, "key") is None
assert told == ["success"], told

busy, sale = (503, {}, {"Retry-After": "60"}), (200, {"items": []}, {})
for kind, least, most in ((Shopper, 60, 90), (Impatient, 5, 7.5)):
    waited.clear()
    assert visitor(kind, busy, sale).look() == {"items": []}
    assert least <= waited[0] <= most, (kind, waited)
"""


def test_visitors_are_well_mannered() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT],
        cwd=PROJECT, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
