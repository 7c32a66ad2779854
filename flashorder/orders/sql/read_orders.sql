-- Orders with all that is shown of them, newest first. $1 order ids.
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
    WHERE order_id = ANY($1::uuid[])
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
