"""What must hold in PostgreSQL and belongs to no single room."""

from __future__ import annotations

from flashorder.infra.postgres.invariants import Invariant

INVARIANTS = [
    Invariant(
        "one_order_a_token",
        "an idempotency token of a sale stands for one order",
        """
        SELECT sale_id, encode(substring(uuid_send(order_id) FROM 7), 'hex') AS token,
               count(*) AS orders
        FROM orders
        WHERE sale_id IS NOT NULL
        GROUP BY sale_id, substring(uuid_send(order_id) FROM 7)
        HAVING count(*) > 1
        """,
    ),
    Invariant(
        "intent_applied_once",
        "a stream entry is one order or one dead letter, never both and never two",
        """
        SELECT shard, intent_ms, intent_seq, count(*) AS times
        FROM (
            SELECT shard, intent_ms, intent_seq FROM orders WHERE shard IS NOT NULL
            UNION ALL
            SELECT shard, intent_ms, intent_seq FROM dead_letters WHERE status <> 'retried'
        ) AS applied
        GROUP BY shard, intent_ms, intent_seq
        HAVING count(*) > 1
        """,
    ),
    Invariant(
        "orders_and_parcels_go_together",
        "an order awaits shipment if and only if a shipment of it is in the house, and is shipped "
        "if and only if one has left, once their events have been heard",
        """
        SELECT order_id, orders.status AS order_status, shipment_id, parcel.status
        FROM orders
        FULL JOIN (SELECT * FROM shipments WHERE status <> 'cancelled') AS parcel USING (order_id)
        WHERE CASE
            WHEN parcel.status IN ('shipped', 'delivered') THEN
                orders.status NOT IN ('shipped', 'completed')
                OR (parcel.status = 'delivered' AND orders.delivered_at IS NULL)
            ELSE
                orders.status IN ('shipped', 'completed')
                OR (orders.status = 'awaiting_shipment') <> (parcel.status IS NOT NULL)
          END
          AND NOT EXISTS (
              SELECT FROM outbox
              WHERE outbox.key = order_id AND outbox.processed_at IS NULL
          )
        """,
    ),
]
