-- Of the sales that the front knows ($1) those that it should not. A settled one leaves the front
-- a moment after it was settled.
SELECT sale_id, coalesce(status, 'unknown') AS status
FROM unnest($1::uuid[]) AS known (sale_id)
LEFT JOIN sales USING (sale_id)
WHERE status IS NULL
   OR status = 'draft'
   OR (status = 'settled' AND synced_revision = revision)
