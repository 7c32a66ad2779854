-- Whether the front should know a sale ($1), as sql/promised_to_the_front.sql says of all.
SELECT EXISTS (
    SELECT
    FROM sales
    WHERE sale_id = $1
      AND status IN ('scheduled', 'open', 'paused', 'closed')
      AND (synced_revision > 0 OR rebuilding_since IS NOT NULL)
)
