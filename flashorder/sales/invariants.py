"""What must always hold of the sales, in PostgreSQL alone."""

from __future__ import annotations

from flashorder.infra.postgres.invariants import Invariant

INVARIANTS = [
    Invariant(
        "sale_committed_within_allotted",
        "no more units of a SKU are in orders of a sale than were given to the sale",
        "SELECT sale_id, sku, committed, allotted FROM sale_items WHERE committed > allotted",
    ),
    Invariant(
        "sale_committed_is_ordered",
        "the committed units of a SKU are those of the sale's orders that are not cancelled",
        """
        SELECT sale_id, sku, coalesce(item.committed, 0) AS committed,
               coalesce(ordered.units, 0) AS ordered
        FROM sale_items AS item
        FULL JOIN (
            SELECT orders.sale_id, line.sku, sum(line.quantity) AS units
            FROM orders
            JOIN order_lines AS line USING (order_id)
            WHERE orders.sale_id IS NOT NULL AND orders.status <> 'cancelled'
            GROUP BY orders.sale_id, line.sku
        ) AS ordered USING (sale_id, sku)
        WHERE coalesce(item.committed, 0) <> coalesce(ordered.units, 0)
        """,
    ),
    Invariant(
        "sale_allotted_is_allocated",
        "the units given to a sale are those that the ledger of stock allocated to it",
        """
        SELECT sale_id, sku, item.allotted, coalesce(moved.units, 0) AS allocated
        FROM sale_items AS item
        LEFT JOIN LATERAL (
            SELECT -sum(movement.quantity) AS units
            FROM stock_movements AS movement
            WHERE movement.reference = item.sale_id::text
              AND movement.sku = item.sku
              AND movement.kind IN ('allocated', 'released')
        ) AS moved ON true
        WHERE item.allotted <> coalesce(moved.units, 0)
        """,
    ),
    Invariant(
        "sale_top_ups_applied_when_settled",
        "a settled sale has no top-up that the front never had",
        """
        SELECT top_up.top_up_id, top_up.sale_id, top_up.sku, top_up.quantity
        FROM sale_top_ups AS top_up
        JOIN sales AS sale USING (sale_id)
        WHERE sale.status = 'settled' AND top_up.applied_at IS NULL
        """,
    ),
]
