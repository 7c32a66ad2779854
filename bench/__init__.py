"""Measurements: each figure beside its floor and its peers, in one run. See docs/performance.md."""
