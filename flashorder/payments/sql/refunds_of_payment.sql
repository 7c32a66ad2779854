-- The refunds of one payment, oldest first.
SELECT * FROM refunds WHERE payment_id = $1 ORDER BY refund_id
