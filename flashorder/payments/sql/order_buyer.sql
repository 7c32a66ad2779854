-- Whose order it is; no row: not in PostgreSQL (yet).
SELECT buyer_id FROM orders WHERE order_id = $1
