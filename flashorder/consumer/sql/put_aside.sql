-- An entry that no order could be made of, kept as it was; its units stay taken.
INSERT INTO dead_letters (
    dead_letter_id, shard, intent_ms, intent_seq, order_id, sale_id, buyer_id, sku, quantity,
    fields, error
)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
ON CONFLICT (shard, intent_ms, intent_seq) DO NOTHING
