-- Replace an address, if it is still at the version that was read ($11; null: any).
UPDATE addresses
SET recipient = $3, line1 = $4, line2 = $5, city = $6, region = $7, postal_code = $8, country = $9,
    phone = $10, version = version + 1, updated_at = now()
WHERE address_id = $1 AND account_id = $2 AND ($11::integer IS NULL OR version = $11)
RETURNING *
