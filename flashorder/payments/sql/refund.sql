-- One refund.
SELECT * FROM refunds WHERE refund_id = $1
