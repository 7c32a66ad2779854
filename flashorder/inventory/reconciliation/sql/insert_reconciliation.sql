-- The head of a run; its items follow in the same transaction.
INSERT INTO reconciliations
    (reconciliation_id, cause, requested_by, started_at, finished_at, status, drift_units)
VALUES ($1, $2, $3, $4, clock_timestamp(), $5, $6)
RETURNING finished_at
