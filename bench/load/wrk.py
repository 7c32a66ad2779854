"""wrk as the load: https://github.com/wg/wrk, Debian package ``wrk``."""

from __future__ import annotations

import json
import resource
import secrets
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from bench.processes import HOST, run_to_end
from flashorder.kernel.errors import Misconfigured

SCRIPT = Path(__file__).with_name("purchase.lua")
MARK = "SUMMARY "
# Beside the seconds of the load: reading the buyers, connecting, the last answers.
MARGIN_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Purchases:
    """What to send: POST ``path`` to ``port`` with the ``body``, a line of ``buyers`` each.

    ``buyers`` is a file of header lines, one a buyer, taken in turn. ``closing``: each on a
    connection of its own.
    """

    port: int
    path: str
    buyers: Path
    body: str
    closing: bool = False

    def to(self, port: int) -> Purchases:
        """The same to another server."""
        return replace(self, port=port)


@dataclass(frozen=True, slots=True)
class Driven:
    """What wrk counted. ``refused`` answers had a status above 399; ``broken`` got none."""

    seconds: float
    requests: int
    refused: int
    broken: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    cpu_seconds: float = 0.0

    @property
    def accepted(self) -> int:
        """Answers below 400."""
        return self.requests - self.refused


def parse_summary(output: str) -> Driven:
    """Read the line that purchase.lua writes; ``ValueError`` where there is none."""
    for line in output.splitlines():
        if line.startswith(MARK):
            said = json.loads(line.removeprefix(MARK))
            return Driven(
                seconds=said["duration_us"] / 1e6,
                requests=said["requests"],
                refused=said["status"],
                broken=said["connect"] + said["read"] + said["write"] + said["timeout"],
                p50_ms=said["p50_us"] / 1e3,
                p99_ms=said["p99_us"] / 1e3,
                max_ms=said["max_us"] / 1e3,
            )
    raise ValueError(f"wrk said nothing of a summary:\n{output[-1000:]}")


def require_wrk() -> str:
    """Where wrk is; ``Misconfigured`` says how to get it."""
    found = shutil.which("wrk")
    if found is None:
        raise Misconfigured(
            "the load generator wrk is missing: `apt install wrk` (Debian, Ubuntu), "
            "`dnf install wrk` (Fedora) or `brew install wrk`"
        )
    return found


async def drive(
    what: Purchases, *, seconds: float, connections: int, cores: tuple[int, ...]
) -> Driven:
    """Keep ``connections`` busy for ``seconds``; every key is new to the server."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    output = await run_to_end(
        [
            *(require_wrk(), "--threads", "1", "--connections", str(connections)),
            *("--duration", f"{max(1, round(seconds))}s", "--timeout", "10s"),
            *("--script", str(SCRIPT), f"http://{HOST}:{what.port}", "--"),
            *(what.path, str(what.buyers), what.body, secrets.token_hex(6)),
            *(["\r\nConnection: close"] if what.closing else []),
        ],
        cores=cores,
        timeout_seconds=seconds + MARGIN_SECONDS,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return replace(parse_summary(output), cpu_seconds=used)
