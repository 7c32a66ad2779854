-- Use a refresh token up and put its successor ($2, valid for $3 seconds) in its place. No row: it
-- is unknown, expired, used before, or its session has ended.
WITH used AS (
    UPDATE refresh_tokens
    SET used_at = now()
    FROM sessions
    WHERE refresh_tokens.token_hash = $1
      AND refresh_tokens.used_at IS NULL
      AND refresh_tokens.expires_at > now()
      AND sessions.session_id = refresh_tokens.session_id
      AND sessions.ended_at IS NULL
    RETURNING sessions.session_id, sessions.account_id
), extended AS (
    UPDATE sessions
    SET expires_at = now() + make_interval(secs => $3)
    FROM used
    WHERE sessions.session_id = used.session_id
), successor AS (
    INSERT INTO refresh_tokens (token_hash, session_id, expires_at)
    SELECT $2, session_id, now() + make_interval(secs => $3) FROM used
)
SELECT used.session_id, used.account_id, accounts.role
FROM used JOIN accounts USING (account_id)
