-- Forget sessions that nothing can continue: expired, or ended longer ago than a token lives ($1
-- seconds). A bounded number ($2) at a time; their refresh tokens go with them.
DELETE FROM sessions
WHERE session_id = ANY(ARRAY(
    SELECT session_id FROM sessions
    WHERE expires_at < now() - make_interval(secs => $1)
       OR ended_at < now() - make_interval(secs => $1)
    LIMIT $2
))
