-- A refresh token that was used before comes again: two parties have it, so its session ends.
UPDATE sessions
SET ended_at = now(), end_reason = 'refresh_token_reused'
FROM refresh_tokens
WHERE refresh_tokens.token_hash = $1
  AND refresh_tokens.used_at IS NOT NULL
  AND sessions.session_id = refresh_tokens.session_id
  AND sessions.ended_at IS NULL
RETURNING sessions.session_id
