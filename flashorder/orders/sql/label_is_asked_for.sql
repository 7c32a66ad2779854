-- Whether a carrier was asked for the label of the order's parcel, which names the address and is
-- kept for every further try; a refusal opens both again. The order's row is locked before, and so
-- it is by the asking. $1 order id.
SELECT EXISTS (
    SELECT FROM shipments WHERE order_id = $1 AND status <> 'cancelled' AND carrier IS NOT NULL
)
