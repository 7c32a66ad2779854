-- Newest first, below the cursor ($1: id or null), at most $2.
SELECT reconciliation_id, cause, requested_by, started_at, finished_at, status, drift_units
FROM reconciliations
WHERE $1::uuid IS NULL OR reconciliation_id < $1
ORDER BY reconciliation_id DESC
LIMIT $2
