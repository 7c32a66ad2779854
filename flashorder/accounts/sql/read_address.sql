-- One address of an account's book.
SELECT * FROM addresses WHERE address_id = $1 AND account_id = $2
