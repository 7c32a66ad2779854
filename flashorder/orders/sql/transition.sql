-- Move orders into a state from the states that permit it; a row that does not come back has moved
-- on. Leaving `cancelled` (a late payment) takes the units again, so the hold grows with it.
-- $1 order ids, $2 the state, $3 the states it may be entered from, $4 reason of a cancellation.
WITH found AS (
    SELECT order_id, status = 'cancelled' AS was_cancelled
    FROM orders
    WHERE order_id = ANY($1::uuid[])
    FOR NO KEY UPDATE
)
UPDATE orders
SET status = $2,
    version = version + 1,
    updated_at = now(),
    hold = hold + found.was_cancelled::int::smallint,
    cancel_reason = CASE WHEN $2 = 'cancelled' THEN $4 END,
    cancelled_at = CASE WHEN $2 = 'cancelled' THEN now() END,
    released_at = NULL,
    paid_at = CASE WHEN $2 = 'paid' THEN now() ELSE paid_at END,
    shipped_at = CASE WHEN $2 = 'shipped' THEN now() ELSE shipped_at END,
    completed_at = CASE WHEN $2 = 'completed' THEN now() ELSE completed_at END
FROM found
WHERE orders.order_id = found.order_id
  AND status = ANY($3::text[])
RETURNING orders.order_id, version, hold, sale_id, buyer_id, found.was_cancelled
