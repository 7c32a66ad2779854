-- Products by SKU; the search is in the SKU or the name, case aside, and takes nothing as a wildcard.
SELECT *
FROM products
WHERE ($1::text IS NULL OR sku > $1)
  AND ($2::text IS NULL OR position(lower($2) IN lower(sku)) > 0
       OR position(lower($2) IN lower(name)) > 0)
  AND ($3::boolean IS NULL OR active = $3)
ORDER BY sku
LIMIT $4
