-- One payment.
SELECT * FROM payments WHERE payment_id = $1
