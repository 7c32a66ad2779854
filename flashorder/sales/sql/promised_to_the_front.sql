-- The sales that the front should know, by the generation that it should have them in. One that is
-- being rebuilt is not there until it is filled.
SELECT sale_id, generation, rebuilding_since IS NOT NULL AS rebuilding
FROM sales
WHERE status IN ('scheduled', 'open', 'paused', 'closed')
  AND (synced_revision > 0 OR rebuilding_since IS NOT NULL)
ORDER BY sale_id
