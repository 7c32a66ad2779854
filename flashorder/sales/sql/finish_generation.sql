-- The front holds all that this generation ($2) of the sale ($1) should: from here on it is told of
-- changes again. The revision is below any of this generation, so the present one is told at once.
UPDATE sales
SET rebuilding_since = NULL,
    synced_revision = 1
WHERE sale_id = $1
  AND generation = $2
  AND rebuilding_since IS NOT NULL
RETURNING sale_id
