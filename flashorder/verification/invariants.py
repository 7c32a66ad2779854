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
]
