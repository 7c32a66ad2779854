"""Ways to the outside: Redis, PostgreSQL, HTTP, telemetry, embedded servers. No business rules."""
