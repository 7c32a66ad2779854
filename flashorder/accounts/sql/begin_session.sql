-- A sign-in: a session and its first refresh token, valid for $4 seconds.
WITH session AS (
    INSERT INTO sessions (session_id, account_id, expires_at)
    VALUES ($1, $2, now() + make_interval(secs => $4))
    RETURNING session_id, expires_at
)
INSERT INTO refresh_tokens (token_hash, session_id, expires_at)
SELECT $3, session_id, expires_at FROM session
