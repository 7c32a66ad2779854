"""How long a client waits before it asks again."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping

JITTER_MAX = 1.5


def pause_seconds(
    backoff_seconds: float,
    asked_seconds: float,
    chance: random.Random,
    *,
    patience_seconds: float = math.inf,
) -> float:
    """The longer of the client's own back-off and what Retry-After asked, with jitter upwards only.

    Never less than was asked, but for a client whose ``patience_seconds`` end before: that one is
    ill-mannered on purpose.
    """
    asked = min(asked_seconds, patience_seconds)
    return max(backoff_seconds, asked) * chance.uniform(1.0, JITTER_MAX)


def retry_after_seconds(headers: Mapping[str, str] | None) -> float:
    """What the answer asks for; 0 where it asks for nothing that can be read."""
    try:
        asked = float((headers or {}).get("Retry-After") or 0)
    except ValueError:
        return 0.0
    return asked if 0 <= asked < math.inf else 0.0
