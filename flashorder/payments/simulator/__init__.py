"""A payment provider of our own: a real HTTP service that behaves, and misbehaves, like one."""

from flashorder.payments.simulator.app import build_payment_simulator

__all__ = ["build_payment_simulator"]
