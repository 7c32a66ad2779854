-- Which of these sales ($1) are settled, so that the front should have forgotten them.
SELECT sale_id FROM sales WHERE sale_id = ANY ($1::uuid[]) AND status = 'settled'
