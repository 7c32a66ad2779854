-- Bring products to what a file says; one that says the same already is not touched, so a second
-- import changes nothing. What an operator wrote is kept, and so are whether a product is active
-- and its stock policy. Returns each SKU that was created or updated, or whose difference was kept.
WITH file AS (
    SELECT *
    FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::integer[])
        AS f (sku, name, unit_price_amount, currency, weight_grams)
),
imported AS (
    INSERT INTO products AS known (sku, name, unit_price_amount, currency, weight_grams)
    SELECT * FROM file
    ON CONFLICT (sku) DO UPDATE
    SET name = excluded.name,
        unit_price_amount = excluded.unit_price_amount,
        currency = excluded.currency,
        weight_grams = coalesce(excluded.weight_grams, known.weight_grams),
        version = known.version + 1,
        updated_at = now()
    WHERE known.edited_at IS NULL
      AND (known.name, known.unit_price_amount, known.currency, known.weight_grams)
          IS DISTINCT FROM
          (excluded.name, excluded.unit_price_amount, excluded.currency,
           coalesce(excluded.weight_grams, known.weight_grams))
    RETURNING sku, (xmax = 0) AS created
)
SELECT sku, CASE WHEN created THEN 'created' ELSE 'updated' END AS outcome
FROM imported
UNION ALL
SELECT sku, 'kept'
FROM file
JOIN products AS known USING (sku)
WHERE known.edited_at IS NOT NULL
  AND (known.name, known.unit_price_amount, known.currency, known.weight_grams)
      IS DISTINCT FROM
      (file.name, file.unit_price_amount, file.currency,
       coalesce(file.weight_grams, known.weight_grams))
