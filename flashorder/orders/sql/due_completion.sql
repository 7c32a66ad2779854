-- Orders that were delivered long enough ago. $1 seconds since the delivery, $2 how many at most.
SELECT order_id
FROM orders
WHERE status = 'shipped'
  AND delivered_at <= now() - make_interval(secs => $1)
ORDER BY delivered_at
LIMIT $2
FOR NO KEY UPDATE SKIP LOCKED
