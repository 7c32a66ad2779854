-- Bring products to what a file says; a product that says the same already is not touched, so a
-- second import changes nothing. Whether it is active, and its stock policy, are the operator's.
INSERT INTO products AS known (sku, name, unit_price_amount, currency, weight_grams)
SELECT *
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::integer[])
ON CONFLICT (sku) DO UPDATE
SET name = excluded.name,
    unit_price_amount = excluded.unit_price_amount,
    currency = excluded.currency,
    weight_grams = coalesce(excluded.weight_grams, known.weight_grams),
    version = known.version + 1,
    updated_at = now()
WHERE (known.name, known.unit_price_amount, known.currency, known.weight_grams)
      IS DISTINCT FROM
      (excluded.name, excluded.unit_price_amount, excluded.currency,
       coalesce(excluded.weight_grams, known.weight_grams))
RETURNING sku, (xmax = 0) AS created
