-- The payment that a report is about: by the provider's name for it, else by ours. A payment of
-- another provider is never meant, whatever the report says.
SELECT * FROM payments
WHERE provider = $1
  AND (provider_reference = $2 OR (payment_id = $3 AND provider_reference IS NULL)
       OR (payment_id = $3 AND $2::text IS NULL))
ORDER BY provider_reference = $2 DESC NULLS LAST
LIMIT 1
