-- Sales that the front does not have as they are here. A draft is no business of the front's, and
-- one that is being rebuilt is told when it is filled.
SELECT sale_id
FROM sales
WHERE synced_revision < revision AND status <> 'draft' AND rebuilding_since IS NULL
ORDER BY sale_id
LIMIT $1
