"""What the doctor says of a machine."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from flashorder.infra import machine
from flashorder.infra.findings import Finding, Level, judge, require
from flashorder.infra.machine import check_clock, check_machine, check_port
from flashorder.kernel.errors import Misconfigured


def by_name(findings: list[Finding]) -> dict[str, Finding]:
    return {each.name: each for each in findings}


def test_a_folder_that_is_not_there_yet_is_judged_by_its_parent(tmp_path: Path) -> None:
    found = by_name(check_machine(tmp_path / "not" / "yet", connections_max=10))
    assert str(tmp_path) in found["disk space"].detail
    assert {"python", "open files", "disk space", "fsync"} <= set(found)
    assert found["python"].level is Level.OK
    assert not (tmp_path / "not").exists()


def test_too_few_open_files_are_a_warning(tmp_path: Path) -> None:
    found = by_name(check_machine(tmp_path, connections_max=10**9))
    assert found["open files"].level is Level.WARNING
    assert "ulimit -Hn" in found["open files"].mend


def test_a_slow_disk_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "FSYNC_MS_WARNING", 0.0)
    assert by_name(check_machine(tmp_path, 10))["fsync"].level is Level.WARNING


def test_a_full_disk_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "DISK_BYTES_WARNING", 2**62)
    monkeypatch.setattr(machine, "DISK_BYTES_MIN", 2**62)
    assert by_name(check_machine(tmp_path, 10))["disk space"].level is Level.ERROR


def test_a_taken_port_is_told_with_the_setting_that_moves_it() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        taken = check_port("127.0.0.1", port, "FLASHORDER_PORT")
    assert taken.level is Level.WARNING
    assert "FLASHORDER_PORT" in taken.mend
    assert check_port("127.0.0.1", port, "FLASHORDER_PORT").level is Level.OK


@pytest.mark.parametrize(
    ("ms", "level"), [(3, Level.OK), (900, Level.WARNING), (-900, Level.WARNING)]
)
def test_clocks_that_differ_are_a_warning(ms: float, level: Level) -> None:
    assert check_clock("store", ms).level is level


def test_errors_are_required_away_and_warnings_are_not() -> None:
    good = judge("store", "a", "a is yes", "set a", holds=True)
    poor = judge("store", "b", "b is low", "raise b", holds=False, otherwise=Level.WARNING)
    bad = judge("store", "c", "c is no", "set c", holds=False)
    require([good, poor])
    with pytest.raises(Misconfigured, match="c is no: set c"):
        require([good, poor, bad])
