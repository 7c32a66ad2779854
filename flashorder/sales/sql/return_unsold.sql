-- A settled sale keeps what it sold; the rest is no longer its own.
UPDATE sale_items SET allotted = committed WHERE sale_id = $1 AND allotted > committed
