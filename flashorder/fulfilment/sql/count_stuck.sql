-- Packed shipments that no carrier takes: it said no, or it was asked again and again.
-- $1 askings from which on a carrier is thought not to answer.
SELECT count(*) FILTER (WHERE carrier IS NULL AND label_refusals > 0) AS refused,
       count(*) FILTER (WHERE carrier IS NOT NULL AND label_attempts >= $1) AS unanswered
FROM shipments
WHERE status = 'packed'
