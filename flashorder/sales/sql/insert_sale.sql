-- A draft. No row comes back when the end has passed already by the database's clock.
INSERT INTO sales (sale_id, title, currency, starts_at, ends_at, payment_window_seconds)
SELECT $1::uuid, $2::text, $3::text, $4::timestamptz, $5::timestamptz, $6::integer
WHERE $5 > now()
RETURNING sale_id
