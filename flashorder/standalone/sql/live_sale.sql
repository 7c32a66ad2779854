-- A sale that a shopper can buy in now, or soon; the one that lasts longest.
SELECT sale_id
FROM sales
WHERE status IN ('scheduled', 'open', 'paused') AND ends_at > now()
ORDER BY (status = 'open') DESC, ends_at DESC
LIMIT 1
