"""What must hold in PostgreSQL across the rooms' tables."""

from __future__ import annotations

from flashorder.infra.postgres.invariants import Invariant

INVARIANTS = [
    Invariant(
        "buyer_limit_in_orders",
        "no buyer has more units of an item in live orders than the sale permits",
        """
        SELECT o.sale_id, line.sku, o.buyer_id, sum(line.quantity) AS units,
               item.per_buyer_limit
        FROM orders AS o
        JOIN order_lines AS line USING (order_id)
        JOIN sale_items AS item ON item.sale_id = o.sale_id AND item.sku = line.sku
        WHERE o.status <> 'cancelled'
        GROUP BY o.sale_id, line.sku, o.buyer_id, item.per_buyer_limit
        HAVING sum(line.quantity) > item.per_buyer_limit
        """,
    ),
    Invariant(
        "committed_is_live_units",
        "the committed units of an item are those of its live orders",
        """
        SELECT item.sale_id, item.sku, item.committed, coalesce(live.units, 0) AS live_units
        FROM sale_items AS item
        LEFT JOIN (
            SELECT o.sale_id, line.sku, sum(line.quantity) AS units
            FROM orders AS o
            JOIN order_lines AS line USING (order_id)
            WHERE o.status <> 'cancelled' AND o.sale_id IS NOT NULL
            GROUP BY o.sale_id, line.sku
        ) AS live ON live.sale_id = item.sale_id AND live.sku = item.sku
        WHERE item.committed <> coalesce(live.units, 0)
        """,
    ),
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
        "timeline_contiguous",
        "an order's timeline counts 1, 2, 3 … up to the order's version",
        """
        SELECT o.order_id, o.version, count(e.version) AS events, max(e.version) AS newest
        FROM orders AS o
        LEFT JOIN order_events AS e USING (order_id)
        GROUP BY o.order_id, o.version
        HAVING count(e.version) <> o.version OR max(e.version) IS DISTINCT FROM o.version
        """,
    ),
]
