-- The ended sessions whose access tokens may still run: a token lives $1 seconds.
SELECT session_id
FROM sessions
WHERE ended_at > now() - make_interval(secs => $1)
