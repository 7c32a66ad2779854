-- The carrier was heard, or somebody in its place: where the parcel is now, and when to ask if it falls silent again.
-- $1 shipment id, $2 tracking status, $3 status, $4 statuses to leave, $5 time of the newest
-- trouble, $6 its words, $7 seconds until asking, $8 type of the event in the timeline, $9 who
-- said it.
WITH told AS (
    UPDATE shipments
    SET tracking_status = $2,
        status = $3,
        delivered_at = CASE WHEN $3 = 'delivered' THEN coalesce(delivered_at, now()) END,
        exception_at = $5,
        exception_detail = $6,
        tracking_due_at = CASE WHEN $3 = 'shipped'
            THEN now() + make_interval(secs => $7) END,
        version = version + 1,
        updated_at = now()
    WHERE shipment_id = $1 AND status = ANY($4::text[])
    RETURNING shipment_id, version, carrier, tracking_number
), noted AS (
    INSERT INTO shipment_events (shipment_id, version, type, actor, data)
    SELECT shipment_id, version, $8, $9,
        jsonb_build_object('tracking_status', $2::text, 'exception', $6::text)
    FROM told
)
SELECT * FROM told
