"""Ending with the parent, so that no process outlives the one that watches over it."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import Final

_PR_SET_PDEATHSIG: Final = 1


def end_with_parent(parent_pid: int, number: signal.Signals = signal.SIGTERM) -> None:
    """Have the kernel send ``number`` to this process when the thread that started it ends.

    Raises ``SystemExit`` when the parent is gone already. prctl(2); on systems without it only the
    orderly way is left: a parent that stops its children.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
    if os.getppid() != parent_pid:
        raise SystemExit(1)
