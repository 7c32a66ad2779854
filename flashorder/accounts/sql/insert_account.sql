-- Add an account, unless its e-mail address is taken: then no row.
INSERT INTO accounts (account_id, email, password_hash, role, name)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (lower(email)) DO NOTHING
RETURNING account_id, email, role, name, version, created_at
