-- What belongs to a sale is looked for by reconciliation twice a minute, and by operators. New orders
-- are those of the sales that run, so its new keys lie beside one another.

CREATE INDEX orders_by_sale ON orders (sale_id);
