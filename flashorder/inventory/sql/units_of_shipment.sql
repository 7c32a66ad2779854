-- What is in a parcel, units by SKU. $1 shipment id.
SELECT sku, sum(quantity)::integer AS quantity
FROM shipment_lines
WHERE shipment_id = $1
GROUP BY sku
