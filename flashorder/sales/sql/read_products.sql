-- What a sale must know of the products that it wants to sell.
SELECT sku, name, currency, active FROM products WHERE sku = ANY ($1::text[])
