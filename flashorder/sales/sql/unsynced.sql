-- Sales that the front does not have as they are here. A draft is no business of the front's.
SELECT sale_id
FROM sales
WHERE synced_revision < revision AND status <> 'draft'
ORDER BY sale_id
LIMIT $1
