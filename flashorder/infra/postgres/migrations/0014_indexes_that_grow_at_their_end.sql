-- New orders have the highest ids, so an index that runs downwards takes them at the wrong end of each
-- status and SKU: its pages split in the middle and stay half empty, 89 MB a million orders instead of
-- 50. PostgreSQL reads an index backwards as well as forwards.

DROP INDEX orders_by_status;
CREATE INDEX orders_by_status ON orders (status, order_id);
DROP INDEX order_lines_by_sku;
CREATE INDEX order_lines_by_sku ON order_lines (sku, order_id);
DROP INDEX orders_of_buyer;
CREATE INDEX orders_of_buyer ON orders (buyer_id, order_id);
