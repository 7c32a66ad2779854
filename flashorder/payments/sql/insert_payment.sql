-- A new attempt, numbered after those before it, unless there have been $9 already. Runs under the
-- lock of order_to_pay. The worker leaves it alone for $10 seconds, while the request itself calls.
INSERT INTO payments (payment_id, order_id, buyer_id, provider, amount, currency, method,
                      return_url, attempt, ask_at)
SELECT $1, $2, $3, $4, $5, $6, $7, $8, count(*) + 1, now() + make_interval(secs => $10)
FROM payments
WHERE order_id = $2
HAVING count(*) < $9
RETURNING *
