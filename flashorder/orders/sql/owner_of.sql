-- Whose order it is, and how far it has come. $1 order id.
SELECT buyer_id, status, version FROM orders WHERE order_id = $1
