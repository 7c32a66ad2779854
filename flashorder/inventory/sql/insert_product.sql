-- A new product; no row comes back when the SKU is taken.
INSERT INTO products (sku, name, unit_price_amount, currency, stock_policy, weight_grams)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (sku) DO NOTHING
RETURNING *
