-- Products for the demonstration: priced as a shopper would expect, with the most units at hand.
SELECT p.sku, p.name, p.unit_price_amount, p.currency
FROM products AS p
LEFT JOIN stock_levels AS level USING (sku)
WHERE p.active AND p.currency = 'GBP' AND p.unit_price_amount BETWEEN 100 AND 5000
ORDER BY coalesce(level.available, 0) DESC, p.sku
LIMIT $1
