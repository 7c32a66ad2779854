-- How much waits, and for how long the oldest has.
SELECT count(*) AS waiting,
       coalesce(extract(epoch FROM now() - min(created_at)), 0)::double precision AS oldest_seconds
FROM outbox
WHERE processed_at IS NULL
