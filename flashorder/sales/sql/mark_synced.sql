-- The front has this revision; says which one it should have by now.
UPDATE sales
SET synced_revision = greatest(synced_revision, $2)
WHERE sale_id = $1 AND generation = $3
RETURNING revision
