-- Balanced runs older than $1 seconds say nothing any more; at most $2 a call. The newest stays.
DELETE FROM reconciliations
WHERE reconciliation_id IN (
    SELECT reconciliation_id
    FROM reconciliations
    WHERE status = 'balanced'
      AND finished_at < now() - make_interval(secs => $1)
      AND reconciliation_id < (SELECT max(reconciliation_id::text)::uuid FROM reconciliations)
      AND NOT EXISTS (
        SELECT FROM stock_corrections AS c
        WHERE c.reconciliation_id = reconciliations.reconciliation_id)
    LIMIT $2)
