"""What must always hold of the stock."""

from __future__ import annotations

from flashorder.infra.postgres.invariants import Invariant

INVARIANTS = [
    Invariant(
        "stock_level_is_sum_of_movements",
        "on hand and available of a SKU are the sums of its movements in the ledger",
        """
        SELECT sku, level.on_hand, level.available,
               moved.on_hand AS on_hand_moved, moved.available AS available_moved
        FROM stock_levels AS level
        FULL JOIN (
            SELECT sku,
                   coalesce(sum(quantity) FILTER (
                       WHERE kind IN ('received', 'returned', 'adjusted', 'shipped')), 0)
                       AS on_hand,
                   coalesce(sum(quantity) FILTER (WHERE kind <> 'shipped'), 0) AS available
            FROM stock_movements
            GROUP BY sku
        ) AS moved USING (sku)
        WHERE (coalesce(level.on_hand, 0), coalesce(level.available, 0))
              IS DISTINCT FROM (coalesce(moved.on_hand, 0), coalesce(moved.available, 0))
        """,
    ),
]
