-- The items of a draft, in one statement.
INSERT INTO sale_items (sale_id, sku, unit_price_amount, per_buyer_limit, allotted)
SELECT $1, item.*
FROM unnest($2::text[], $3::bigint[], $4::integer[], $5::integer[]) AS item
