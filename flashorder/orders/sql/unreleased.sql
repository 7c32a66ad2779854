-- Cancelled orders whose units the front may still hold; the event that should have given them back
-- had its time. $1 seconds since the cancellation, $2 how many at most.
SELECT order_id, sale_id, buyer_id, hold
FROM orders
WHERE status = 'cancelled'
  AND released_at IS NULL
  AND sale_id IS NOT NULL
  AND cancelled_at < now() - make_interval(secs => $1)
ORDER BY cancelled_at
LIMIT $2
