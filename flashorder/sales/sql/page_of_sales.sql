-- A page of sale ids, newest first; a null status means every one, a null cursor the beginning.
SELECT sale_id
FROM sales
WHERE ($1::text IS NULL OR status = $1) AND ($2::uuid IS NULL OR sale_id < $2)
ORDER BY sale_id DESC
LIMIT $3
