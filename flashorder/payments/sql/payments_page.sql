-- A page for operators, newest first: filters that are null do not filter; $4 is the last id seen.
SELECT * FROM payments
WHERE ($1::uuid IS NULL OR order_id = $1)
  AND ($2::text IS NULL OR status = $2)
  AND ($3::text IS NULL OR provider = $3)
  AND ($4::uuid IS NULL OR payment_id < $4)
ORDER BY payment_id DESC
LIMIT $5
