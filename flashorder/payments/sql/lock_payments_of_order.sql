-- All attempts of an order, locked in one order by everybody: which capture keeps the order, and how
-- much has been refunded, are decided one report after the other.
SELECT * FROM payments WHERE order_id = $1 ORDER BY payment_id FOR UPDATE
