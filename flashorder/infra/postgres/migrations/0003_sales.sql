-- Campaigns. PostgreSQL holds what was promised; Redis decides who gets a unit of it.

CREATE TABLE sales (
    sale_id uuid PRIMARY KEY,
    title text NOT NULL CHECK (length(title) BETWEEN 1 AND 200),
    status text NOT NULL DEFAULT 'draft'
        CHECK (status IN ('draft', 'scheduled', 'open', 'paused', 'closed', 'settled')),
    currency char(3) NOT NULL,
    starts_at timestamptz NOT NULL,
    ends_at timestamptz NOT NULL,
    payment_window_seconds integer NOT NULL DEFAULT 900
        CHECK (payment_window_seconds BETWEEN 1 AND 604800),
    -- Grows when the front is built anew; a store that answers with an older one is refused.
    generation integer NOT NULL DEFAULT 1 CHECK (generation >= 1),
    -- Grows with each change; the front has it once synced_revision has caught up.
    revision integer NOT NULL DEFAULT 1,
    synced_revision integer NOT NULL DEFAULT 0,
    -- While a lost front is filled anew; until it is null again the sale stays paused there.
    rebuilding_since timestamptz,
    -- Of the caller and the key that asked for it: asked again, it is the same sale.
    request_id uuid UNIQUE,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CHECK (starts_at < ends_at),
    CHECK (synced_revision <= revision)
);

CREATE INDEX sales_unsynced ON sales (sale_id) WHERE synced_revision < revision;
CREATE INDEX sales_closed ON sales (updated_at) WHERE status = 'closed';
CREATE INDEX sales_by_status ON sales (status, sale_id DESC);

CREATE TABLE sale_items (
    sale_id uuid NOT NULL REFERENCES sales,
    sku text NOT NULL REFERENCES products,
    unit_price_amount bigint NOT NULL CHECK (unit_price_amount >= 0),
    per_buyer_limit integer NOT NULL CHECK (per_buyer_limit >= 1),
    -- Units given to this sale, top-ups included.
    allotted integer NOT NULL CHECK (allotted >= 0),
    -- Units in orders that are not cancelled: the last guard against overselling.
    committed integer NOT NULL DEFAULT 0 CHECK (committed >= 0),
    PRIMARY KEY (sale_id, sku),
    CHECK (committed <= allotted)
);

-- A top-up is promised here first and then told to the front, once, by its id.
CREATE TABLE sale_top_ups (
    top_up_id uuid PRIMARY KEY,
    sale_id uuid NOT NULL,
    sku text NOT NULL,
    quantity integer NOT NULL CHECK (quantity <> 0),
    cause text NOT NULL,
    requested_by uuid,
    requested_at timestamptz NOT NULL DEFAULT now(),
    -- When the front of the sale's present generation had it; null again with the next one.
    applied_at timestamptz,
    FOREIGN KEY (sale_id, sku) REFERENCES sale_items
);

CREATE INDEX sale_top_ups_unapplied ON sale_top_ups (requested_at) WHERE applied_at IS NULL;
