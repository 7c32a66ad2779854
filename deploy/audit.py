"""Ask the package registry what is known against the locked dependencies.

    python deploy/audit.py            exit code 0: nothing, 1: something, 3: it could not be asked

pip-audit asks PyPI's JSON API, which mirrors often do not have. It passes over what it was not told
about, and calls that "no known vulnerabilities"; here it is said, and is no success.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

LOCKS = Path(__file__).resolve().parent.parent / "requirements"
# dev contains run and loadtest; the other two stand for themselves.
AUDITED = ("dev.lock", "bench.lock", "embedded.lock")
DONE, FOUND, NOT_ASKED = 0, 1, 3


def main() -> int:
    """The worst of all locks."""
    return max(map(audit, AUDITED))


def audit(lock: str) -> int:
    """Audit one lock, say what came out, and return its exit code."""
    command = [
        sys.executable, "-m", "pip_audit", "--format", "json", "--disable-pip", "--require-hashes",
        "--progress-spinner", "off", "--requirement", str(LOCKS / lock),
    ]  # fmt: skip
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        report = json.loads(ran.stdout)
    except ValueError:
        why = (ran.stderr.strip().splitlines() or ["it said nothing"])[-1]
        print(f"audit: {lock}: the registry could not be asked: {why}", file=sys.stderr)
        return NOT_ASKED
    code, lines = judge(lock, report)
    print("\n".join(f"audit: {line}" for line in lines))
    return code


def judge(lock: str, report: dict[str, Any]) -> tuple[int, list[str]]:
    """Exit code and lines for a report in pip-audit's JSON format."""
    packages = report["dependencies"]
    skipped = [each["name"] for each in packages if "skip_reason" in each]
    lines = [
        f"{lock}: {each['name']} {each['version']} has {found['id']} "
        f"({', '.join(found['aliases'])}), fixed in {', '.join(found['fix_versions']) or 'nothing'}"
        for each in packages
        for found in each.get("vulns", [])
    ]
    if lines:
        return FOUND, lines
    if skipped:
        return NOT_ASKED, [
            f"{lock}: NOT AUDITED: the registry knows nothing about {len(skipped)} of "
            f"{len(packages)} packages. A mirror without PyPI's JSON API cannot be asked: run this "
            "where https://pypi.org is reachable."
        ]
    return DONE, [f"{lock}: nothing is known against {len(packages)} packages"]


if __name__ == "__main__":
    sys.exit(main())
