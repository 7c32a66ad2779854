-- Live sales whose end has passed for everybody: the front refused purchases at its own moment, a
-- little is added here so that two clocks need not agree.
UPDATE sales
SET status = 'closed', revision = revision + 1, updated_at = now()
WHERE status = ANY ($1::text[]) AND ends_at <= now() - make_interval(secs => $2)
RETURNING sale_id
