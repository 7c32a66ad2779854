-- A taking that came to nothing still used its number up, and its units must be given back.
-- $1 order id, $2 the hold before.
UPDATE orders
SET hold = hold + 1,
    released_at = NULL
WHERE order_id = $1
  AND hold = $2
  AND status = 'cancelled'
