-- The book, from behind $2 (null: from the beginning).
SELECT * FROM addresses
WHERE account_id = $1 AND ($2::uuid IS NULL OR address_id > $2)
ORDER BY address_id
LIMIT $3
