-- Paid orders that wait for the warehouse. $1 how many at most.
SELECT order_id
FROM orders
WHERE status = 'paid'
ORDER BY paid_at
LIMIT $1
FOR NO KEY UPDATE SKIP LOCKED
