-- Where the parcel goes, as the address is now; nothing comes back if it is not the buyer's.
-- $1 order id, $2 address id, $3 buyer.
UPDATE orders
SET address_id = address.address_id,
    ship_to = jsonb_strip_nulls(jsonb_build_object(
        'recipient', address.recipient, 'line1', address.line1, 'line2', address.line2,
        'city', address.city, 'region', address.region, 'postal_code', address.postal_code,
        'country', address.country, 'phone', address.phone
    ))
FROM addresses AS address
WHERE orders.order_id = $1
  AND address.address_id = $2
  AND address.account_id = $3
RETURNING orders.order_id
