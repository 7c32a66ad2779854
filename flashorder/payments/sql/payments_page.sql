-- A page for operators, newest first: filters that are null do not filter; $4 is the last id seen. $6:
-- only those with a refund that needs a person.
SELECT * FROM payments
WHERE ($1::uuid IS NULL OR order_id = $1)
  AND ($2::text IS NULL OR status = $2)
  AND ($3::text IS NULL OR provider = $3)
  AND ($4::uuid IS NULL OR payment_id < $4)
  AND (NOT $6 OR EXISTS (
      SELECT FROM refunds_to_decide WHERE refunds_to_decide.payment_id = payments.payment_id))
ORDER BY payment_id DESC
LIMIT $5
