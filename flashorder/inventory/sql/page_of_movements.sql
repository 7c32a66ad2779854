-- The ledger, newest entry first.
SELECT *
FROM stock_movements
WHERE ($1::bigint IS NULL OR entry_no < $1)
  AND ($2::text IS NULL OR sku = $2)
  AND ($3::text IS NULL OR kind = $3)
  AND ($4::text IS NULL OR reference = $4)
ORDER BY entry_no DESC
LIMIT $5
