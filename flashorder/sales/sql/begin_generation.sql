-- A new generation of a sale ($1) that the front has lost: above the one that was read ($2) and
-- whatever the front has ($3). Until it is filled nobody else tells the front of it, and it has no
-- top-up yet. $4 the states in which a sale is at the front. No row: somebody else was first.
WITH begun AS (
    UPDATE sales
    SET generation = greatest(generation, $3) + 1,
        revision = revision + 1,
        synced_revision = 0,
        rebuilding_since = now(),
        updated_at = now()
    WHERE sale_id = $1
      AND generation = $2
      AND status = ANY ($4::text[])
    RETURNING sale_id
),
forgotten AS (
    UPDATE sale_top_ups AS top_up
    SET applied_at = NULL
    FROM begun
    WHERE top_up.sale_id = begun.sale_id
)
SELECT sale_id FROM begun
