"""What every scenario is given."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.cores import Cores


@dataclass(frozen=True, slots=True)
class Context:
    """``rounds`` in turn of ``seconds`` each, after a warm-up that is not counted.

    ``orders_behind`` is the larger end of scenario ``growth``; ``folder`` is gone afterwards.
    """

    rounds: int
    seconds: float
    connections: int
    orders_behind: int
    overload_seconds: float
    cores: Cores
    folder: Path
    say: Callable[[str], None]
    warm_seconds: float = 1.0
    python: str = sys.executable

    def place(self, name: str) -> Path:
        """A new folder."""
        path = self.folder / name
        path.mkdir(parents=True, exist_ok=True)
        return path
