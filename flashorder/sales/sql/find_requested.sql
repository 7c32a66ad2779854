-- The sale that a request made before.
SELECT sale_id FROM sales WHERE request_id = $1
