"""HTTP: endpoints, authentication, problem details, idempotency, OpenAPI, server limits."""
