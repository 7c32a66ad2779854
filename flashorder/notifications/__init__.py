"""Telling others what happened: the outbox relay."""
