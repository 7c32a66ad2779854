-- The front has given the units of this hold back. $1 order id, $2 the hold.
UPDATE orders
SET released_at = now()
WHERE order_id = $1
  AND hold = $2
  AND status = 'cancelled'
  AND released_at IS NULL
