-- Add an address, unless the book is full ($11): then no row.
INSERT INTO addresses (address_id, account_id, recipient, line1, line2, city, region, postal_code,
                       country, phone)
SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10
WHERE (SELECT count(*) FROM addresses WHERE account_id = $2) < $11
RETURNING *
