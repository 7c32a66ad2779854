-- The carrier was away: ask again later. $1 shipment id, $2 seconds from now.
UPDATE shipments
SET label_due_at = now() + make_interval(secs => $2)
WHERE shipment_id = $1 AND label_due_at IS NOT NULL
