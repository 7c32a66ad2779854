"""PostgreSQL: pool, statements from files, migrations, outbox."""
