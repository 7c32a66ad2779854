"""What was done is not done again."""

from __future__ import annotations

from collections.abc import Iterator

from tests.faults.history import History
from tests.faults.snapshot import Snapshot


def doing_it_again_changes_nothing(_: History, end: Snapshot) -> Iterator[str]:
    """A second reconciliation writes nothing; all webhooks once more change nothing."""
    for recheck in end.rechecks:
        if recheck.changed:
            yield f"{recheck.what} changed {', '.join(recheck.changed)}"
