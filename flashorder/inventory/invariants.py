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
    Invariant(
        "shipped_units_are_those_of_parcels_that_left",
        "the ledger has each line of each parcel that left as shipped, and nothing else",
        """
        SELECT reference, sku, coalesce(parcel.units, 0) AS units,
               coalesce(moved.units, 0) AS units_moved
        FROM (
            SELECT shipment_id::text AS reference, sku, sum(line.quantity) AS units
            FROM shipments
            JOIN shipment_lines AS line USING (shipment_id)
            WHERE status IN ('shipped', 'delivered')
            GROUP BY shipment_id, sku
        ) AS parcel
        FULL JOIN (
            SELECT reference, sku, -sum(quantity) AS units
            FROM stock_movements
            WHERE kind = 'shipped'
            GROUP BY reference, sku
        ) AS moved USING (reference, sku)
        WHERE parcel.units IS DISTINCT FROM moved.units
        """,
    ),
]
