-- Decide on a dead letter that is still held; who comes second finds none.
-- $1 its id, $2 retried or discarded, $3 who decided.
UPDATE dead_letters
SET status = $2,
    closed_at = now(),
    closed_by = $3
WHERE dead_letter_id = $1
  AND status = 'held'
RETURNING dead_letter_id, shard, intent_ms, intent_seq, order_id, sale_id, buyer_id, sku, quantity,
          fields
