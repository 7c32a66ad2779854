-- Items whose stock at the front was corrected: what is sold there no longer proves anything.
SELECT DISTINCT sale_id, sku
FROM stock_corrections
