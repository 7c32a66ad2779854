-- Orders with all that is shown of them, newest first; null parameters do not filter.
-- $1 order ids, $2 buyer, $3 status, $4 kind, $5 sale, $6 SKU, $7 order number, $8 created at or
-- after, $9 created before, $10 ids below this one (the cursor), $11 how many at most.
SELECT placed.*,
       lines.lines,
       money.payment_statuses,
       money.captured_amount,
       refunded.refund_statuses,
       refunded.refunded_amount,
       parcels.shipment_statuses
FROM (
    SELECT order_id, order_number, kind, status, cancel_reason, buyer_id, sale_id, currency,
           total_amount, address_id, ship_to, payment_due_at, accepted_at, updated_at, version
    FROM orders
    WHERE ($1::uuid[] IS NULL OR order_id = ANY($1))
      AND ($2::uuid IS NULL OR buyer_id = $2)
      AND ($3::text IS NULL OR status = $3)
      AND ($4::text IS NULL OR kind = $4)
      AND ($5::uuid IS NULL OR sale_id = $5)
      AND ($6::text IS NULL OR order_id IN (SELECT order_id FROM order_lines WHERE sku = $6))
      AND ($7::text IS NULL OR order_number = $7)
      AND ($8::timestamptz IS NULL OR accepted_at >= $8)
      AND ($9::timestamptz IS NULL OR accepted_at < $9)
      AND ($10::uuid IS NULL OR order_id < $10)
    ORDER BY order_id DESC
    LIMIT $11
) AS placed
LEFT JOIN LATERAL (
    SELECT jsonb_agg(
        jsonb_build_object(
            'sku', sku, 'name', name, 'quantity', quantity,
            'unit_price_amount', unit_price_amount, 'total_amount', total_amount
        ) ORDER BY line_no
    ) AS lines
    FROM order_lines
    WHERE order_lines.order_id = placed.order_id
) AS lines ON true
LEFT JOIN LATERAL (
    SELECT array_agg(status ORDER BY payment_id) AS payment_statuses,
           sum(amount) FILTER (WHERE status = 'captured') AS captured_amount
    FROM payments
    WHERE payments.order_id = placed.order_id
) AS money ON true
LEFT JOIN LATERAL (
    SELECT array_agg(status ORDER BY refund_id) AS refund_statuses,
           sum(amount) FILTER (WHERE status = 'succeeded') AS refunded_amount
    FROM refunds
    WHERE refunds.order_id = placed.order_id
) AS refunded ON true
LEFT JOIN LATERAL (
    SELECT array_agg(status ORDER BY shipment_id) AS shipment_statuses
    FROM shipments
    WHERE shipments.order_id = placed.order_id
) AS parcels ON true
ORDER BY placed.order_id DESC
