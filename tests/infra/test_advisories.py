"""The list of known vulnerabilities, against the words of real servers."""

from __future__ import annotations

import re

import pytest

from flashorder.infra.advisories import (
    Server,
    check_advisories,
    known_advisories,
    parse_version,
)
from flashorder.infra.embedded.binaries import find_database_binaries, find_store_binary
from flashorder.infra.findings import Level


@pytest.mark.parametrize(
    ("server", "version", "level", "named", "mend"),
    [
        ("valkey", "9.1.2", Level.OK, "none of 9.1.2", ""),
        ("valkey", "9.1.0", Level.WARNING, "CVE-2026-63639", "9.1.2"),
        ("valkey", "9.0.2", Level.WARNING, "CVE-2026-63639", "9.0.5"),
        ("valkey", "8.1.4", Level.WARNING, "CVE-2026-63639", "8.1.9"),
        ("valkey", "8.1.3", Level.ERROR, "CVE-2025-49844 (10)", "8.1.9"),
        ("valkey", "8.0.1", Level.ERROR, "CVE-2025-49844", "8.0.10"),
        ("valkey", "10.0.0", Level.OK, "none", ""),
        ("redis", "7.0.15", Level.ERROR, "CVE-2025-49844", "7.4.9"),
        ("redis", "7.4.6-v2", Level.WARNING, "CVE-2026-23479", "7.4.9"),
        ("redis", "8.2.1", Level.ERROR, "CVE-2025-49844", "8.2.6"),
        ("redis", "8.4.2", Level.WARNING, "CVE-2026-25243", "8.4.3"),
        ("redis", "8.6.3", Level.OK, "none", ""),
        ("postgresql", "18.7", Level.OK, "none", ""),
        ("postgresql", "18.4", Level.WARNING, "CVE-2026-14662 (8.8)", "18.7"),
        ("postgresql", "17.9 (Ubuntu 17.9-1.pgdg24.04+1)", Level.WARNING, "CVE-2026-6473", "17.12"),
        ("postgresql", "16.1 (Debian 16.1-1.pgdg120+1)", Level.WARNING, "more", "16.16"),
        ("postgresql", "15.20", Level.OK, "none", ""),
        ("postgresql", "19beta1", Level.OK, "none", ""),
        ("redis", "", Level.WARNING, "no version", "ask whoever runs"),
        ("redis", "unknown", Level.WARNING, "no version", "ask whoever runs"),
    ],
)
def test_a_version_is_held_against_the_list(
    server: Server, version: str, level: Level, named: str, mend: str
) -> None:
    finding = check_advisories("store", server, version)
    assert finding.level is level, finding
    assert named in finding.detail
    assert mend in finding.mend
    assert bool(finding.mend) == (level is not Level.OK)


async def test_the_words_of_the_embedded_servers_are_understood() -> None:
    store = await find_store_binary()
    database = (await find_database_binaries()).postgres
    for server, version in (("valkey", store.version), ("postgresql", database.version)):
        finding = check_advisories("store", server, version)
        assert version in finding.detail
        assert finding.level is not Level.ERROR, finding


def test_a_version_that_ends_something_has_nothing_that_is_ended_there() -> None:
    """And the one before it has: each entry says something, and can be acted upon."""
    for each in known_advisories().advisories:
        assert list(each.fixed_in) == sorted(each.fixed_in, key=parse_version), each.id
        for fix in each.fixed_in:
            *branch, last = parse_version(fix)
            assert each.fix_of((*branch, last)) is None, each.id
            assert each.fix_of((*branch, last - 1)) == fix, each.id


def test_each_is_named_once_and_as_the_registries_do() -> None:
    names = [(each.server, each.id) for each in known_advisories().advisories]
    assert len(names) == len(set(names))
    pattern = re.compile(r"CVE-20\d\d-\d{4,6}|GHSA(-[0-9a-z]{4}){3}")
    assert all(pattern.fullmatch(name) for _, name in names)
    assert {server for server, _ in names} == {"valkey", "redis", "postgresql"}
