-- Balanced runs older than $1 seconds say nothing any more, the others after $2; at most $3 a call.
-- The newest stays, and so does every run that something was corrected by.
DELETE FROM reconciliations
WHERE reconciliation_id IN (
    SELECT reconciliation_id
    FROM reconciliations
    WHERE finished_at < now() - make_interval(
            secs => CASE status WHEN 'balanced' THEN $1::float8 ELSE $2::float8 END)
      AND reconciliation_id < (SELECT max(reconciliation_id::text)::uuid FROM reconciliations)
      AND NOT EXISTS (
        SELECT FROM stock_corrections AS c
        WHERE c.reconciliation_id = reconciliations.reconciliation_id)
    ORDER BY finished_at
    LIMIT $3)
