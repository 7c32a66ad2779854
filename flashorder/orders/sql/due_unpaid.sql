-- Orders whose time to pay is over by the database's clock; what another worker holds is left to
-- it. $1 how many at most.
SELECT order_id
FROM orders
WHERE status = 'pending_payment'
  AND payment_due_at <= now()
ORDER BY payment_due_at
LIMIT $1
FOR NO KEY UPDATE SKIP LOCKED
