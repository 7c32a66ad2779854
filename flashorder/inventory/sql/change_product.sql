-- A product as an operator wants it, if it still is of the version that the operator has read
-- (null: whichever). What it is called, costs and weighs is the operator's from now on, if any of
-- it is new.
UPDATE products
SET name = $2,
    unit_price_amount = $3,
    currency = $4,
    stock_policy = $5,
    weight_grams = $6,
    active = $7,
    version = version + 1,
    updated_at = now(),
    edited_at = CASE
        WHEN (name, unit_price_amount, currency, weight_grams)
             IS DISTINCT FROM ($2, $3, $4, $6::integer) THEN now()
        ELSE edited_at
    END
WHERE sku = $1 AND ($8::integer IS NULL OR version = $8)
RETURNING *
