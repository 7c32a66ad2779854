-- The timeline grows in the transaction that did it.
-- $1 order ids, $2 their versions, $3 type, $4 actor, $5 data (one for all).
INSERT INTO order_events (order_id, version, type, actor, data)
SELECT moved.order_id, moved.version, $3, $4, $5::jsonb
FROM unnest($1::uuid[], $2::integer[]) AS moved (order_id, version)
