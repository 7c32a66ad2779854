-- What the order desk looks for: deliveries to complete, paid orders to release, searches.

-- When the carrier handed the parcel over; the order completes on its own some time after.
ALTER TABLE orders ADD COLUMN delivered_at timestamptz
    CHECK (delivered_at IS NULL OR shipped_at IS NOT NULL);

CREATE INDEX orders_delivered ON orders (delivered_at)
    WHERE status = 'shipped' AND delivered_at IS NOT NULL;
CREATE INDEX orders_to_release ON orders (paid_at) WHERE status = 'paid';
CREATE INDEX orders_by_status ON orders (status, order_id DESC);
CREATE INDEX order_lines_by_sku ON order_lines (sku, order_id DESC);
