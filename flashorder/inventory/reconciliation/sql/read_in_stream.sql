-- Which entries of a page ($1 shards, $2 ms, $3 seq) are in neither orders nor dead letters yet:
-- their positions in the page, from 0.
SELECT entry.position - 1 AS position
FROM unnest($1::smallint[], $2::bigint[], $3::bigint[]) WITH ORDINALITY
    AS entry (shard, ms, seq, position)
WHERE NOT EXISTS (
    SELECT FROM orders AS o
    WHERE o.shard = entry.shard AND o.intent_ms = entry.ms AND o.intent_seq = entry.seq)
  AND NOT EXISTS (
    SELECT FROM dead_letters AS d
    WHERE d.shard = entry.shard AND d.intent_ms = entry.ms AND d.intent_seq = entry.seq)
