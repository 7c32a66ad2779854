-- What the carrier said becomes part of the shipment's history, in whatever order it came.
-- $1 carrier, $2 shipment id, $3 event ids, $4 statuses, $5 times, $6 details, $7 places.
INSERT INTO tracking_events (carrier, shipment_id, event_id, tracking_status, occurred_at, detail,
                             location)
SELECT $1, $2, * FROM unnest($3::text[], $4::text[], $5::timestamptz[], $6::text[], $7::text[])
ON CONFLICT DO NOTHING
