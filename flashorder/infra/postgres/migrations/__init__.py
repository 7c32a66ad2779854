"""The schema, step by step: plain numbered .sql, applied by ``flashorder.infra.postgres``."""
