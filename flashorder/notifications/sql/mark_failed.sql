-- To be tried again later. $1 event ids, $2 for each the pause in seconds, $3 what went wrong.
UPDATE outbox AS event
SET available_at = now() + make_interval(secs => failed.pause_seconds),
    last_error = failed.error
FROM unnest($1::bigint[], $2::double precision[], $3::text[])
    AS failed (event_id, pause_seconds, error)
WHERE event.event_id = failed.event_id
  AND event.processed_at IS NULL
