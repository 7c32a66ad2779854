-- Dead letters, newest first. $1 status or null, $2 ids below this one (the cursor), $3 how many.
SELECT dead_letter_id, shard, intent_ms, intent_seq, order_id, sale_id, buyer_id, sku, quantity,
       error, status, created_at, closed_at, closed_by, released_at
FROM dead_letters
WHERE ($1::text IS NULL OR status = $1)
  AND ($2::uuid IS NULL OR dead_letter_id < $2)
ORDER BY dead_letter_id DESC
LIMIT $3
