-- Move orders into a state from the states that permit it; a row that does not come back has moved
-- on. Leaving `cancelled` (a late payment) takes the units again, so the hold grows with it.
-- $1 order ids, $2 the state, $3 the states it may be entered from, $4 reason of a cancellation.
UPDATE orders
SET status = $2,
    version = version + 1,
    updated_at = now(),
    hold = hold + (status = 'cancelled')::int::smallint,
    cancel_reason = CASE WHEN $2 = 'cancelled' THEN $4 END,
    cancelled_at = CASE WHEN $2 = 'cancelled' THEN now() END,
    released_at = NULL,
    paid_at = CASE WHEN $2 = 'paid' THEN now() ELSE paid_at END,
    shipped_at = CASE WHEN $2 = 'shipped' THEN now() ELSE shipped_at END,
    completed_at = CASE WHEN $2 = 'completed' THEN now() ELSE completed_at END
WHERE order_id = ANY($1::uuid[])
  AND status = ANY($3::text[])
RETURNING order_id, version, hold, sale_id, buyer_id
