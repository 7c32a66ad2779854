"""Payments: providers, webhooks, captures and refunds. Money that moved is never forgotten."""
