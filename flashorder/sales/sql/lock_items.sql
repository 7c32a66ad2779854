-- What was given and what was sold of each item, held until the transaction ends.
SELECT sku, allotted, committed FROM sale_items WHERE sale_id = $1 ORDER BY sku FOR UPDATE
