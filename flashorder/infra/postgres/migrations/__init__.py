"""The schema, step by step: plain numbered .sql files, and the runner that applies them."""

from flashorder.infra.postgres.migrations.runner import (
    Migration,
    migrate,
    pending_migrations,
    shipped_migrations,
)

__all__ = ["Migration", "migrate", "pending_migrations", "shipped_migrations"]
