"""A carrier that exists only here: a real HTTP service with books, labels, webhooks and moods."""

from flashorder.fulfilment.simulator.service import build_carrier_simulator

__all__ = ["build_carrier_simulator"]
