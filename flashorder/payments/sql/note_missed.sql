-- The provider says that it has no such payment; tells how often in a row.
UPDATE payments SET missed = missed + 1 WHERE payment_id = $1 RETURNING missed
