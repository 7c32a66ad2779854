-- The stream of a shard ($1) was at this id ($2 ms, $3 seq); an older one changes nothing.
INSERT INTO store_positions AS known (shard, ms, seq)
VALUES ($1, $2, $3)
ON CONFLICT (shard) DO UPDATE
SET ms = excluded.ms, seq = excluded.seq
WHERE (known.ms, known.seq) < (excluded.ms, excluded.seq)
