-- A product as an operator wants it, if it still is of the version that the operator has read
-- (null: whichever).
UPDATE products
SET name = $2,
    unit_price_amount = $3,
    currency = $4,
    stock_policy = $5,
    weight_grams = $6,
    active = $7,
    version = version + 1,
    updated_at = now()
WHERE sku = $1 AND ($8::integer IS NULL OR version = $8)
RETURNING *
