"""Python imports this at its start where the harness has put this folder on PYTHONPATH.

So the service has no switch of its own: what breaks it is outside of it, and costs it nothing.
"""

import os

if skew := os.environ.get("CHAOS_CLOCK_SECONDS"):
    from tests.faults.skew import shift

    shift(float(skew))
if folder := os.environ.get("CHAOS_POINTS"):
    from pathlib import Path

    from tests.faults.points import install

    install(Path(folder), os.environ["CHAOS_ROLE"])
if bug := os.environ.get("CHAOS_BUG"):
    from tests.faults.bugs import plant

    plant(bug)
