-- What is in a shipment, with the names on the order. $1 shipment id.
SELECT shipment_lines.sku, order_lines.name, shipment_lines.quantity
FROM shipment_lines
JOIN shipments USING (shipment_id)
LEFT JOIN order_lines USING (order_id, line_no)
WHERE shipment_id = $1
ORDER BY line_no
