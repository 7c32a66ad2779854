-- Dead letters of a sale ($1) that no order was made of, behind an id ($2), at most $3. Their units
-- stay taken until they are discarded and given back.
SELECT dead_letter_id, intent_ms, intent_seq, fields, released_at IS NULL AS held
FROM dead_letters
WHERE sale_id = $1
  AND dead_letter_id > $2
  AND status <> 'retried'
ORDER BY dead_letter_id
LIMIT $3
