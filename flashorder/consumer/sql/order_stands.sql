-- Whether the units of a dead letter belong to an order after all. $1 order id.
SELECT EXISTS (SELECT FROM orders WHERE order_id = $1)
