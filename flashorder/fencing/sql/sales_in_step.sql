-- Sales that the front has as they are here; the others are told by the job, or wait for a rebuild.
SELECT sale_id
FROM sales
WHERE status IN ('scheduled', 'open', 'paused', 'closed')
  AND synced_revision = revision
  AND rebuilding_since IS NULL
ORDER BY sale_id
