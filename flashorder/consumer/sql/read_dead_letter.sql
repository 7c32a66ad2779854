-- One dead letter as the list shows it. $1 its id.
SELECT dead_letter_id, shard, intent_ms, intent_seq, order_id, sale_id, buyer_id, sku, quantity,
       error, status, created_at, closed_at, closed_by, released_at
FROM dead_letters
WHERE dead_letter_id = $1
