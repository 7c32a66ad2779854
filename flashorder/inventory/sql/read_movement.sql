-- One entry of the ledger.
SELECT * FROM stock_movements WHERE movement_id = $1
