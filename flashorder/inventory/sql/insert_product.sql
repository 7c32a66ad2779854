-- A new product by an operator's hand; no row comes back when the SKU is taken.
INSERT INTO products
    (sku, name, unit_price_amount, currency, stock_policy, weight_grams, edited_at)
VALUES ($1, $2, $3, $4, $5, $6, now())
ON CONFLICT (sku) DO NOTHING
RETURNING *
