-- One correction of stock at a time, whichever run it belongs to.
SELECT pg_advisory_xact_lock(hashtext('flashorder.stock_corrections'))
