-- The first answer to each idempotent call that PostgreSQL decides; replayed to the same caller.

CREATE TABLE idempotency_keys (
    caller_id uuid NOT NULL,
    key text NOT NULL CHECK (length(key) BETWEEN 1 AND 255),
    fingerprint bytea NOT NULL,
    -- Null while the first call is in flight; a lease that ran out may be taken over.
    status_code smallint,
    headers jsonb,
    body bytea,
    locked_until timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (caller_id, key)
);

CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);
