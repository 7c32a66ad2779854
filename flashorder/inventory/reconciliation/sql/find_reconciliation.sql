-- One run by its id.
SELECT reconciliation_id, cause, requested_by, started_at, finished_at, status, drift_units
FROM reconciliations
WHERE reconciliation_id = $1
