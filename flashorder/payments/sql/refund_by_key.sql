-- The refund that a request has led to before.
SELECT * FROM refunds WHERE payment_id = $1 AND request_key = $2
