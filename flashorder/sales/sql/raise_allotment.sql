-- Units given to an item on top of what it had.
UPDATE sale_items
SET allotted = allotted + $3
WHERE sale_id = $1 AND sku = $2
RETURNING allotted
