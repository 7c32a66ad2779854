"""The stream of intents into PostgreSQL, and the entries that no order could be made of."""

from flashorder.consumer.service import Consumer

__all__ = ["Consumer"]
