-- Scheduled sales whose start is near. They are live a little early, so that the moment of the
-- start is decided by the front's own clock and not by when this ran.
UPDATE sales
SET status = 'open', revision = revision + 1, updated_at = now()
WHERE status = 'scheduled'
  AND starts_at <= now() + make_interval(secs => $1)
  AND ends_at > now()
RETURNING sale_id
