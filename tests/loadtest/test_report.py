"""The testers' arithmetic, picture and page. Locust is not imported: it patches sockets."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from loadtest.figures import latency_ms, percentile
from loadtest.monitor import Sample, applied_lag_seconds
from loadtest.report import draw, quantile, read_samples, write_page
from loadtest.waves import users_at


@pytest.mark.parametrize(
    ("shape", "elapsed", "users"),
    [
        ("spike", 0, 1000), ("spike", 50, 1000),
        ("ramp", 0, 1), ("ramp", 35, 500), ("ramp", 70, 1000), ("ramp", 99, 1000),
        ("plateau", 5, 500), ("plateau", 10, 1000), ("plateau", 99, 1000),
    ],
)  # fmt: skip
def test_shapes(shape: str, elapsed: float, users: int) -> None:
    assert users_at(shape, elapsed, 100, 1000) == users


def test_percentiles_are_values_that_were_seen() -> None:
    assert percentile([3, 1, 2], 0.5) == 2
    assert percentile([1], 0.99) == 1
    assert math.isnan(percentile([], 0.5))
    assert latency_ms([0.001, 0.1])["max"] == 100.0
    assert quantile({"10": 9, "500": 1}, 0.5) == 10
    assert quantile({"10": 9, "500": 1}, 0.99) == 500
    assert quantile({}, 0.5) == 0


def test_the_lag_is_from_the_last_acceptance_to_its_row() -> None:
    samples = [Sample(1.0, 2, 1, 5), Sample(1.5, 2, None, 5), Sample(2.0, 2, 2, 5)]
    assert applied_lag_seconds(samples, [0.5, 1.25]) == 0.75
    assert applied_lag_seconds(samples, [0.1] * 3) is None
    assert applied_lag_seconds(samples, []) is None


def test_the_page_names_what_is_violated_and_escapes(tmp_path: Path) -> None:
    check = {"room": "front", "name": "x", "explanation": "a < b", "violations": 2}
    entry = {
        "name": "POST order", "num_requests": 3, "num_failures": 0, "max_response_time": 20.0,
        "response_times": {"10": 2, "20": 1},
    }  # fmt: skip
    page = write_page(tmp_path, {"visitors": 3}, [entry], {"accepted": 1}, {"checks": [check]})
    text = page.read_text()
    assert "1 violated" in text
    assert "a &lt; b" in text
    assert "POST order" in text


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::PendingDeprecationWarning")
def test_the_picture_bears_gaps(tmp_path: Path) -> None:
    lines = [
        {"at": 100.0 + at, "users": 2, "per_second": 3.0, "p50_ms": None, "p95_ms": 4,
         "remaining": None if at == 1 else 10 - at}
        for at in range(4)
    ]  # fmt: skip
    path = tmp_path / "samples.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)) + '\n{"at": 1')
    samples = read_samples(path)
    assert len(samples) == 4, "a line that was cut off is left out"
    draw(samples, 101.0, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_matplotlib_does_not_tell_of_its_fonts(tmp_path: Path) -> None:
    """As at the first start on a machine: there is no cache of fonts."""
    script = (
        "import logging, sys; logging.basicConfig(level=logging.INFO)\n"
        "from pathlib import Path; from loadtest.report import draw\n"
        "draw([{'at': 1.0, 'users': 1, 'per_second': 1.0, 'p50_ms': 1, 'p95_ms': 1,"
        " 'remaining': 1}], 0.0, Path(sys.argv[1]))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, str(tmp_path / "picture.png")],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "MPLCONFIGDIR": str(tmp_path)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "fontManager" not in done.stderr
