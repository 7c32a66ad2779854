-- One product.
SELECT * FROM products WHERE sku = $1
