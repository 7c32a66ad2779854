-- An order whose receipt was honoured while its first entry was still on its way has two entries, and
-- the buyer was told the later time to pay. An entry that comes a second time changes nothing.
-- $1 order ids, $2 due (Unix ms).
UPDATE orders
SET payment_due_at = entry.due_at, updated_at = now()
FROM (
    SELECT order_id, max('epoch'::timestamptz + due_ms * interval '1 millisecond') AS due_at
    FROM unnest($1::uuid[], $2::bigint[]) AS told (order_id, due_ms)
    GROUP BY order_id
) AS entry
WHERE orders.order_id = entry.order_id
  AND orders.payment_due_at < entry.due_at
