-- A draft. No row comes back when the end has passed already by the database's clock, or when the
-- request ($7, or null) made its sale before.
INSERT INTO sales
    (sale_id, title, currency, starts_at, ends_at, payment_window_seconds, request_id)
SELECT $1::uuid, $2::text, $3::text, $4::timestamptz, $5::timestamptz, $6::integer, $7::uuid
WHERE $5 > now()
ON CONFLICT (request_id) DO NOTHING
RETURNING sale_id
