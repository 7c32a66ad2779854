-- Events that have done their work long ago. $1 age in seconds, $2 how many at most.
DELETE FROM outbox
WHERE event_id IN (
    SELECT event_id
    FROM outbox
    WHERE processed_at < now() - make_interval(secs => $1)
    ORDER BY processed_at
    LIMIT $2
)
