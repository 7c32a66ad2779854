-- Orders of a batch with their lines, first event and announcement. An order that is there already
-- changes nothing; neither does an entry that was put aside and not taken up again. A sale or a
-- product that is missing becomes a null where none may be, which is a refusal. It ships to the
-- address that was named, if it is the buyer's, or to their newest if none was. Rows go in by their
-- id: that is the order of three primary keys, and of locks where two place the same entries.
-- Entries that come for the first time are placed without ON CONFLICT (PLACE_FIRST in placing.py).
-- Columns of the batch: $1 order id, $2 number, $3 buyer, $4 sale, $5 SKU, $6 units, $7 unit price,
-- $8 address, $9 fingerprint, $10 accepted, $11 due (Unix ms), $12 and $13 the entry; $14 shard.
-- Returns what was newly placed, by sale and SKU: what the stock guard has to answer for.
WITH entry AS (
    SELECT *
    FROM unnest(
        $1::uuid[], $2::text[], $3::uuid[], $4::uuid[], $5::text[], $6::integer[], $7::bigint[],
        $8::uuid[], $9::bytea[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[]
    ) AS e (
        order_id, order_number, buyer_id, sale_id, sku, quantity, unit_price_amount,
        address_id, fingerprint, accepted_ms, due_ms, intent_ms, intent_seq
    )
    ORDER BY order_id, intent_ms, intent_seq
),
-- Looked up once a batch, not once an entry.
sale AS MATERIALIZED (
    SELECT sale_id, (SELECT currency FROM sales WHERE sales.sale_id = named.sale_id) AS currency
    FROM (SELECT DISTINCT sale_id FROM entry) AS named
),
product AS MATERIALIZED (
    SELECT sku, (SELECT name FROM products WHERE products.sku = named.sku) AS name
    FROM (SELECT DISTINCT sku FROM entry) AS named
),
placed AS (
    INSERT INTO orders (
        order_id, order_number, buyer_id, sale_id, currency, total_amount, address_id, ship_to,
        fingerprint, shard, intent_ms, intent_seq, accepted_at, payment_due_at
    )
    SELECT entry.order_id, entry.order_number, entry.buyer_id, entry.sale_id, sale.currency,
           entry.quantity * entry.unit_price_amount, address.address_id, address.ship_to,
           entry.fingerprint, $14::smallint, entry.intent_ms, entry.intent_seq,
           'epoch'::timestamptz + entry.accepted_ms * interval '1 millisecond',
           'epoch'::timestamptz + entry.due_ms * interval '1 millisecond'
    FROM entry
    JOIN sale USING (sale_id)
    LEFT JOIN LATERAL (
        SELECT a.address_id,
               jsonb_strip_nulls(jsonb_build_object(
                   'recipient', a.recipient, 'line1', a.line1, 'line2', a.line2, 'city', a.city,
                   'region', a.region, 'postal_code', a.postal_code, 'country', a.country,
                   'phone', a.phone
               )) AS ship_to
        FROM addresses AS a
        WHERE a.account_id = entry.buyer_id
          AND (entry.address_id IS NULL OR a.address_id = entry.address_id)
        ORDER BY a.address_id DESC
        LIMIT 1
    ) AS address ON true
    WHERE NOT EXISTS (
        SELECT
        FROM dead_letters AS aside
        WHERE aside.shard = $14
          AND aside.intent_ms = entry.intent_ms
          AND aside.intent_seq = entry.intent_seq
          AND aside.status <> 'retried'
    )
    ON CONFLICT DO NOTHING
    RETURNING order_id, accepted_at
),
lines AS (
    INSERT INTO order_lines (
        order_id, line_no, sku, name, quantity, unit_price_amount, total_amount
    )
    SELECT entry.order_id, 1, entry.sku, product.name, entry.quantity, entry.unit_price_amount,
           entry.quantity * entry.unit_price_amount
    FROM placed
    JOIN entry USING (order_id)
    JOIN product USING (sku)
),
events AS (
    INSERT INTO order_events (order_id, version, type, actor, occurred_at)
    SELECT order_id, 1, 'placed', 'buyer', accepted_at
    FROM placed
),
announced AS (
    INSERT INTO outbox (topic, key, payload)
    SELECT 'order.placed', order_id, jsonb_build_object('order_id', order_id, 'version', 1)
    FROM placed
)
SELECT entry.sale_id, entry.sku, sum(entry.quantity)::bigint AS quantity, count(*) AS orders
FROM placed
JOIN entry USING (order_id)
GROUP BY entry.sale_id, entry.sku
