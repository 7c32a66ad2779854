-- Sign out. A token that was minted has no session yet: it gets one that has ended.
INSERT INTO sessions (session_id, account_id, expires_at, ended_at, end_reason)
VALUES ($1, $2, now() + make_interval(secs => $3), now(), 'signed_out')
ON CONFLICT (session_id) DO UPDATE
SET ended_at = EXCLUDED.ended_at, end_reason = EXCLUDED.end_reason
WHERE sessions.ended_at IS NULL
