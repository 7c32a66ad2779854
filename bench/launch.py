"""Become a program that stays on its processors and ends with the bench.

Usage: ``python -I -S launch.py PARENT_PID CORES PROGRAM ARGUMENT…``; CORES like ``0,1``. A small
program between fork and exec, because neither prctl(2) nor an affinity survives being set later:
threads that run already would keep the old one.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Never returns."""
    parent_pid, cores, *argv = sys.argv[1:]
    os.sched_setaffinity(0, {int(each) for each in cores.split(",")})
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
    if os.getppid() != int(parent_pid):
        sys.exit(1)
    os.execvp(argv[0], argv)


if __name__ == "__main__":
    main()
