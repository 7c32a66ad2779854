-- Orders, their lines and their timeline. Rows come from the stream; no foreign keys lead out of
-- these tables, because the consumer writes parents and children in one statement each, and a
-- check per row would cost more than the row.

CREATE TABLE orders (
    -- UUIDv7; its last ten bytes are the idempotency token (docs/adr/0003).
    order_id uuid PRIMARY KEY,
    order_number text NOT NULL UNIQUE,
    kind text NOT NULL DEFAULT 'seckill',
    status text NOT NULL DEFAULT 'pending_payment'
        CHECK (status IN ('pending_payment', 'paid', 'awaiting_shipment', 'shipped', 'completed',
                          'cancelled')),
    cancel_reason text,
    buyer_id uuid NOT NULL,
    sale_id uuid,
    -- How many times the units were taken: 1 from the click, +1 for each re-reserve after a late
    -- payment. A release names the hold that it ends, so an old one cannot end a newer.
    hold smallint NOT NULL DEFAULT 1 CHECK (hold >= 1),
    currency char(3) NOT NULL,
    total_amount bigint NOT NULL CHECK (total_amount >= 0),
    address_id uuid,
    ship_to jsonb,
    -- Fingerprint of the request, so that tokens can be rebuilt from here.
    fingerprint bytea CHECK (octet_length(fingerprint) = 8),
    -- Where in which intents stream it was accepted; null for orders that came another way.
    shard smallint,
    intent_ms bigint,
    intent_seq bigint,
    accepted_at timestamptz NOT NULL,
    payment_due_at timestamptz,
    paid_at timestamptz,
    shipped_at timestamptz,
    completed_at timestamptz,
    cancelled_at timestamptz,
    -- Set once the front has given the units of a cancelled order back.
    released_at timestamptz,
    version integer NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CHECK ((status = 'cancelled') = (cancelled_at IS NOT NULL)),
    CHECK ((status = 'cancelled') = (cancel_reason IS NOT NULL)),
    CHECK (status NOT IN ('paid', 'awaiting_shipment', 'shipped', 'completed')
           OR paid_at IS NOT NULL),
    CHECK ((status IN ('shipped', 'completed')) = (shipped_at IS NOT NULL)),
    CHECK ((status = 'completed') = (completed_at IS NOT NULL)),
    CHECK (released_at IS NULL OR status = 'cancelled')
);

CREATE UNIQUE INDEX orders_one_per_token
    ON orders (sale_id, substring(uuid_send(order_id) FROM 7)) WHERE sale_id IS NOT NULL;
CREATE UNIQUE INDEX orders_one_per_intent ON orders (shard, intent_ms, intent_seq)
    WHERE shard IS NOT NULL;
CREATE INDEX orders_of_buyer ON orders (buyer_id, order_id DESC);
CREATE INDEX orders_unpaid ON orders (payment_due_at) WHERE status = 'pending_payment';
CREATE INDEX orders_unreleased ON orders (cancelled_at)
    WHERE status = 'cancelled' AND released_at IS NULL AND sale_id IS NOT NULL;

CREATE TABLE order_lines (
    order_id uuid NOT NULL,
    line_no smallint NOT NULL,
    sku text NOT NULL,
    name text NOT NULL,
    quantity integer NOT NULL CHECK (quantity > 0),
    unit_price_amount bigint NOT NULL CHECK (unit_price_amount >= 0),
    total_amount bigint NOT NULL,
    PRIMARY KEY (order_id, line_no),
    CHECK (total_amount = quantity * unit_price_amount)
);

-- The timeline: contiguous versions, each a step of the order's machine or a note beside it.
CREATE TABLE order_events (
    order_id uuid NOT NULL,
    version integer NOT NULL,
    type text NOT NULL,
    actor text NOT NULL,
    occurred_at timestamptz NOT NULL DEFAULT now(),
    data jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (order_id, version)
);

-- Stream entries that no order could be made of; their units stay taken until an operator decides.
CREATE TABLE dead_letters (
    dead_letter_id uuid PRIMARY KEY,
    shard smallint NOT NULL,
    intent_ms bigint NOT NULL,
    intent_seq bigint NOT NULL,
    order_id uuid,
    sale_id uuid,
    buyer_id uuid,
    sku text,
    quantity integer,
    -- The entry's fields, values in base64, so that it can be tried again as it was.
    fields jsonb NOT NULL,
    error text NOT NULL,
    status text NOT NULL DEFAULT 'held' CHECK (status IN ('held', 'retried', 'discarded')),
    created_at timestamptz NOT NULL DEFAULT now(),
    closed_at timestamptz,
    closed_by uuid,
    released_at timestamptz,
    UNIQUE (shard, intent_ms, intent_seq),
    CHECK ((status = 'held') = (closed_at IS NULL))
);

-- What became of a token at the front, and of a sale's units.
CREATE INDEX dead_letters_of_sale
    ON dead_letters (sale_id, substring(uuid_send(order_id) FROM 7));
