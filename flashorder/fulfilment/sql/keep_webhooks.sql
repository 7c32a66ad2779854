-- What a carrier said, once by its event id; a duplicate is left out.
-- $1 carrier, $2 event ids, $3 tracking numbers, $4 statuses, $5 times, $6 details, $7 places.
INSERT INTO carrier_webhooks (carrier, event_id, tracking_number, tracking_status, occurred_at,
                              detail, location)
SELECT $1, * FROM unnest($2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::text[],
                         $7::text[])
ON CONFLICT DO NOTHING
RETURNING event_id
