"""What the machine must be like: Python, limits of the kernel, disk, ports."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import statistics
import sys
import tempfile
import time
from pathlib import Path

from flashorder.infra.findings import Finding, Level, judge
from flashorder.infra.open_files import FILES_BESIDE_CONNECTIONS, open_files_max

SUBJECT = "machine"
PYTHON_MIN = (3, 11)
DISK_BYTES_MIN = 1 * 2**30
DISK_BYTES_WARNING = 5 * 2**30
FSYNC_SAMPLES = 32
FSYNC_MS_WARNING = 10.0
CLOCK_DIFFERENCE_MS_WARNING = 500.0
_OVERCOMMIT = Path("/proc/sys/vm/overcommit_memory")
_HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def check_machine(data_dir: Path, connections_max: int) -> list[Finding]:
    """Findings on the machine; ``data_dir`` need not exist. Takes as long as 32 fsyncs."""
    place = _nearest_existing(data_dir)
    findings = [
        judge(
            SUBJECT,
            "python",
            f"Python {platform.python_version()}",
            "run Python 3.11 or later",
            holds=sys.version_info[:2] >= PYTHON_MIN,
        ),
        _open_files(connections_max),
        _disk(place),
        _fsync(place),
    ]
    if _OVERCOMMIT.exists():
        value = _OVERCOMMIT.read_text(encoding="ascii").strip()
        findings.append(
            judge(
                SUBJECT,
                "memory overcommit",
                f"vm.overcommit_memory is {value}",
                "sysctl vm.overcommit_memory=1, or rewriting the append-only file may fail for "
                "want of memory while half of it is free",
                holds=value == "1",
                otherwise=Level.WARNING,
            )
        )
    if _HUGE_PAGES.exists():
        value = _HUGE_PAGES.read_text(encoding="ascii").strip()
        findings.append(
            judge(
                SUBJECT,
                "transparent huge pages",
                value,
                f"echo madvise > {_HUGE_PAGES}: with `always`, the store stalls when it forks",
                holds="[always]" not in value,
                otherwise=Level.WARNING,
            )
        )
    return findings


def check_port(host: str, port: int, holder: str) -> Finding:
    """Whether a role can listen on ``host:port``; ``holder`` names the setting that chose it."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return Finding(
                SUBJECT,
                f"port {port}",
                Level.WARNING,
                f"{host}:{port} cannot be had: {error.strerror}",
                f"stop what listens there, or choose another with {holder}",
            )
    return Finding(SUBJECT, f"port {port}", Level.OK, f"{host}:{port} is free")


def check_clock(name: str, difference_ms: float) -> Finding:
    """``difference_ms``: how far the clock of ``name`` is ahead of this machine's."""
    return judge(
        SUBJECT,
        f"clock of the {name}",
        f"{difference_ms:+.0f} ms against this machine",
        "run an NTP client on both machines: sale windows follow the store's clock, payment "
        "windows the database's, tokens this machine's",
        holds=abs(difference_ms) <= CLOCK_DIFFERENCE_MS_WARNING,
        otherwise=Level.WARNING,
    )


def _open_files(connections_max: int) -> Finding:
    soft, hard = open_files_max()
    wanted = connections_max + FILES_BESIDE_CONNECTIONS
    return judge(
        SUBJECT,
        "open files",
        f"limit {soft}, which `flashorder serve` raises as far as {hard}; {wanted} may be wanted",
        f"ulimit -Hn {wanted}, or LimitNOFILE={wanted} in the unit; until then fewer connections "
        "are accepted than FLASHORDER_CONNECTIONS_MAX",
        holds=hard >= wanted,
        otherwise=Level.WARNING,
    )


def _disk(place: Path) -> Finding:
    free = shutil.disk_usage(place).free
    return judge(
        SUBJECT,
        "disk space",
        f"{free / 2**30:.1f} GiB free at {place}",
        "make room: a store that cannot write its append-only file refuses every purchase",
        holds=free >= DISK_BYTES_WARNING,
        otherwise=Level.WARNING if free >= DISK_BYTES_MIN else Level.ERROR,
    )


def _fsync(place: Path) -> Finding:
    try:
        samples_ms = _fsync_samples_ms(place)
    except OSError as error:
        return Finding(
            SUBJECT,
            "fsync",
            Level.ERROR,
            f"{place} cannot be written: {error.strerror}",
            "give this user the folder, or name another in FLASHORDER_DATA_DIR",
        )
    median_ms, worst_ms = statistics.median(samples_ms), max(samples_ms)
    return judge(
        SUBJECT,
        "fsync",
        f"{median_ms:.2f} ms in the middle, {worst_ms:.2f} ms at worst",
        "put the data folder on a faster disk: every batch of purchases waits for one fsync",
        holds=median_ms <= FSYNC_MS_WARNING,
        otherwise=Level.WARNING,
    )


def _fsync_samples_ms(place: Path) -> list[float]:
    samples: list[float] = []
    with tempfile.TemporaryFile(dir=place, buffering=0) as file:
        for _ in range(FSYNC_SAMPLES):
            started = time.perf_counter()
            file.write(b"\0" * 4096)
            os.fsync(file.fileno())
            samples.append((time.perf_counter() - started) * 1000)
    return samples


def _nearest_existing(path: Path) -> Path:
    place = path.absolute()
    while not place.is_dir():
        place = place.parent
    return place
