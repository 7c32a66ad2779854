-- Forget refresh tokens that have expired; used ones are kept until then, to notice their reuse.
DELETE FROM refresh_tokens
WHERE token_hash = ANY(ARRAY(
    SELECT token_hash FROM refresh_tokens WHERE expires_at < now() LIMIT $1
))
