-- A note beside the steps: the timeline grows, the state stays. $1 order id.
UPDATE orders
SET version = version + 1,
    updated_at = now()
WHERE order_id = $1
RETURNING version
