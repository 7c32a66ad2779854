-- One account by its id.
SELECT account_id, email, role, name, version, created_at
FROM accounts
WHERE account_id = $1
