"""Known vulnerabilities of the stores: which of them a version has, and what version ends them.

The list, ``advisories.json``, is part of the release and asks nobody: it is as old as its date, and
holds what its authors could confirm, of the versions that are supported here. SECURITY.md says how
it is brought up to date.
"""

from __future__ import annotations

import re
from datetime import date
from functools import cache
from importlib.resources import files
from typing import Final, Literal, TypeAlias

import msgspec

from flashorder.infra.findings import Finding, Level

Server: TypeAlias = Literal["valkey", "redis", "postgresql"]
Version: TypeAlias = tuple[int, ...]

# From here on a score of CVSS is "critical": nothing is safe that such a server holds.
CVSS_CRITICAL: Final = 9.0
NAMED_MAX: Final = 4
# How many numbers of a version name a branch that gets fixes of its own.
_BRANCH_NUMBERS: Final[dict[Server, int]] = {"valkey": 2, "redis": 2, "postgresql": 1}
_NUMBERS: Final = re.compile(r"\d+(?:\.\d+)*")


class Advisory(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One vulnerability. ``fixed_in`` has the first good version of each branch, oldest first.

    ``since`` is the first version that has it, where not all did. ``cvss`` is None where no score
    was published.
    """

    id: str
    server: Server
    cvss: float | None
    summary: str
    fixed_in: tuple[str, ...]
    since: str = "0"

    def fix_of(self, version: Version) -> str | None:
        """The version to go to from ``version``, or None where it has not got this one."""
        if version < parse_version(self.since):
            return None
        numbers = _BRANCH_NUMBERS[self.server]
        for fix in self.fixed_in:
            parsed = parse_version(fix)
            if parsed[:numbers] == version[:numbers]:
                return fix if version < parsed else None
            if version < parsed:
                return fix  # its own branch gets no fix any more: the next one that did
        return None


class Advisories(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The list as it stands in the file."""

    as_of: date
    advisories: tuple[Advisory, ...]


@cache
def known_advisories() -> Advisories:
    """The list of this release."""
    text = files("flashorder.infra").joinpath("advisories.json").read_bytes()
    return msgspec.json.decode(text, type=Advisories)


def parse_version(text: str) -> Version:
    """The numbers of "9.1.2", "18.6 (Debian 18.6-1.pgdg12+1)" or "7.4.6-v1"; ``ValueError``."""
    found = _NUMBERS.match(text.strip())
    if found is None:
        raise ValueError(f"no version: {text!r}")
    return tuple(map(int, found[0].split(".")))


def check_advisories(subject: str, server: Server, version: str) -> Finding:
    """What is known of ``server`` in ``version``, which is the server's own word."""
    known = known_advisories()
    name = "known vulnerabilities"
    try:
        parsed = parse_version(version)
    except ValueError:
        return Finding(
            subject,
            name,
            Level.WARNING,
            f"{version!r} is no version that can be looked up",
            "ask whoever runs the server which release it is",
        )
    found = [
        (each, fix)
        for each in known.advisories
        if each.server == server and (fix := each.fix_of(parsed)) is not None
    ]
    if not found:
        return Finding(subject, name, Level.OK, f"none of {version} as of {known.as_of}")
    found.sort(key=lambda pair: pair[0].cvss or 0.0, reverse=True)
    named = "; ".join(f"{_titled(each)}: {each.summary}" for each, _ in found[:NAMED_MAX])
    more = f"; and {len(found) - NAMED_MAX} more" if len(found) > NAMED_MAX else ""
    enough = max((fix for _, fix in found), key=parse_version)
    critical = any((each.cvss or 0.0) >= CVSS_CRITICAL for each, _ in found)
    return Finding(
        subject,
        name,
        Level.ERROR if critical else Level.WARNING,
        f"{len(found)} of {version} as of {known.as_of}: {named}{more}",
        f"upgrade to {enough} or later",
    )


def _titled(advisory: Advisory) -> str:
    return advisory.id if advisory.cvss is None else f"{advisory.id} ({advisory.cvss:g})"
