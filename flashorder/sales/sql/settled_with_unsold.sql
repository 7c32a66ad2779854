-- Settled sales of which an order was cancelled afterwards: its units belong to the stock again.
SELECT DISTINCT sale.sale_id
FROM sales AS sale
JOIN sale_items AS item USING (sale_id)
WHERE sale.status = 'settled' AND item.allotted > item.committed
LIMIT $1
