-- Remove an address, if it is still at the version that was read ($3; null: any). Orders keep their
-- own copy of where they go.
DELETE FROM addresses
WHERE address_id = $1 AND account_id = $2 AND ($3::integer IS NULL OR version = $3)
RETURNING address_id
