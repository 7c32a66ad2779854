-- One account by its e-mail address, with what its password is checked against.
SELECT account_id, email, role, name, version, created_at, password_hash
FROM accounts
WHERE lower(email) = lower($1)
