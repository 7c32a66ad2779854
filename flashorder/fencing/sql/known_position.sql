-- The highest id of the stream of a shard ($1) that anybody has written down: of an order, of a dead
-- letter, or a mark. No row: none.
SELECT ms, seq
FROM (
    (SELECT intent_ms AS ms, intent_seq AS seq
     FROM orders
     WHERE shard = $1
     ORDER BY intent_ms DESC, intent_seq DESC
     LIMIT 1)
    UNION ALL
    (SELECT intent_ms, intent_seq
     FROM dead_letters
     WHERE shard = $1
     ORDER BY intent_ms DESC, intent_seq DESC
     LIMIT 1)
    UNION ALL
    SELECT ms, seq FROM store_positions WHERE shard = $1
) AS known
ORDER BY ms DESC, seq DESC
LIMIT 1
