-- The status of a sale, held until the transaction ends.
SELECT status FROM sales WHERE sale_id = $1 FOR UPDATE
