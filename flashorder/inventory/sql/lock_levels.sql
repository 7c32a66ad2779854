-- The levels of some SKUs, locked in one order until the transaction ends, and whether anybody
-- has ever counted them. A product without movements has no row to lock: nothing is there.
SELECT level.sku,
       level.available,
       EXISTS (
           SELECT FROM stock_movements AS movement
           WHERE movement.sku = level.sku
             AND movement.kind IN ('received', 'adjusted')
             AND movement.cause <> ALL ($2::text[])
       ) AS counted
FROM stock_levels AS level
WHERE level.sku = ANY ($1::text[])
ORDER BY level.sku
FOR UPDATE OF level
