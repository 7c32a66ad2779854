-- Work that PostgreSQL knows to be unfinished.
SELECT
    (SELECT count(*) FROM outbox WHERE processed_at IS NULL) AS outbox_events,
    (SELECT count(*) FROM orders
     WHERE status = 'cancelled' AND released_at IS NULL AND sale_id IS NOT NULL)
        AS unreleased_orders,
    (SELECT count(*) FROM sale_top_ups WHERE applied_at IS NULL) AS unapplied_top_ups,
    (SELECT count(*) FROM stock_corrections WHERE outcome IS NULL) AS unanswered_corrections
