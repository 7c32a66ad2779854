-- Whether an order ($1) still has its units by this hold ($2).
SELECT EXISTS (SELECT FROM orders WHERE order_id = $1 AND hold = $2 AND status <> 'cancelled')
