-- The order that is to be paid, locked so that a cancellation either sees the payment or forbids it,
-- and so that two attempts of one buyer are made one after the other.
SELECT order_id, buyer_id, status, currency, total_amount,
       coalesce(payment_due_at <= now(), false) AS past_due
FROM orders
WHERE order_id = $1
FOR NO KEY UPDATE
