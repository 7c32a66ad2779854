-- One product, held until the transaction ends.
SELECT * FROM products WHERE sku = $1 FOR UPDATE
