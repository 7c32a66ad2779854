-- What a buyer may have of each item of the sales at the front.
SELECT sale_id, sku, per_buyer_limit
FROM sale_items
WHERE sale_id = ANY($1::uuid[])
