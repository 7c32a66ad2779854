-- Change the name, if the account is still at the version that was read ($3; null: any).
UPDATE accounts
SET name = $2, version = version + 1, updated_at = now()
WHERE account_id = $1 AND ($3::integer IS NULL OR version = $3)
RETURNING account_id, email, role, name, version, created_at
