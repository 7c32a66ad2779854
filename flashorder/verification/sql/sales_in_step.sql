-- Sales that the front should have as they are here, behind the last one seen ($1), at most $2.
SELECT sale_id
FROM sales
WHERE status IN ('scheduled', 'open', 'paused', 'closed')
  AND synced_revision = revision
  AND sale_id > $1
ORDER BY sale_id
LIMIT $2
