-- An entry that no order could be made of, kept as it was; its units stay taken. Another consumer
-- may have made an order of it since it was refused here, or put it aside: then nothing is written.
INSERT INTO dead_letters (
    dead_letter_id, shard, intent_ms, intent_seq, order_id, sale_id, buyer_id, sku, quantity,
    fields, error
)
SELECT $1, $2::smallint, $3::bigint, $4::bigint, $5, $6, $7, $8, $9, $10, $11
WHERE NOT EXISTS (
    SELECT
    FROM orders
    WHERE orders.shard = $2 AND orders.intent_ms = $3 AND orders.intent_seq = $4
)
ON CONFLICT (shard, intent_ms, intent_seq) DO NOTHING
RETURNING dead_letter_id
