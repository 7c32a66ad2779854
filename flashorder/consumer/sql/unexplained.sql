-- Entries of a batch that are neither an order of theirs nor put aside: something else stands in
-- their place. $1 order ids, $2 buyers, $3 sales, $4 fingerprints, $5 and $6 the entries, $7 shard.
SELECT entry.order_id
FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::bytea[], $5::bigint[], $6::bigint[])
    AS entry (order_id, buyer_id, sale_id, fingerprint, intent_ms, intent_seq)
WHERE NOT EXISTS (
    SELECT
    FROM orders
    WHERE orders.order_id = entry.order_id
      AND orders.buyer_id = entry.buyer_id
      AND orders.sale_id = entry.sale_id
      AND orders.fingerprint IS NOT DISTINCT FROM entry.fingerprint
)
AND NOT EXISTS (
    SELECT
    FROM dead_letters AS aside
    WHERE aside.shard = $7
      AND aside.intent_ms = entry.intent_ms
      AND aside.intent_seq = entry.intent_seq
)
