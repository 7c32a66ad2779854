-- What was found when both stores were held against each other, and what was put right.

CREATE TABLE reconciliations (
    reconciliation_id uuid PRIMARY KEY,
    cause text NOT NULL CHECK (length(cause) BETWEEN 1 AND 200),
    requested_by uuid,
    started_at timestamptz NOT NULL,
    finished_at timestamptz NOT NULL,
    -- inconclusive: two readings disagreed, or more was in flight than could be read.
    status text NOT NULL CHECK (status IN ('balanced', 'drifting', 'inconclusive')),
    -- Sum over the items of the absolute drift, units.
    drift_units bigint NOT NULL CHECK (drift_units >= 0),
    CHECK (started_at <= finished_at),
    CHECK (status = 'drifting' OR drift_units = 0)
);

CREATE INDEX reconciliations_by_age ON reconciliations (finished_at);

-- Units of one SKU of one sale, as the last reading saw them:
-- available + applied + unreleased + in_stream + dead_letters = allotted + drift.
CREATE TABLE reconciliation_items (
    reconciliation_id uuid NOT NULL REFERENCES reconciliations ON DELETE CASCADE,
    sale_id uuid NOT NULL,
    sku text NOT NULL,
    generation integer NOT NULL,
    verdict text NOT NULL
        CHECK (verdict IN ('balanced', 'drifting', 'inconclusive', 'front_missing')),
    available bigint NOT NULL,
    sold bigint NOT NULL,
    applied bigint NOT NULL,
    unreleased bigint NOT NULL,
    in_stream bigint NOT NULL,
    dead_letters bigint NOT NULL,
    allotted bigint NOT NULL,
    drift bigint NOT NULL,
    PRIMARY KEY (reconciliation_id, sale_id, sku)
);

-- An adjustment of the front's stock: promised here first, then told to the front once by its id,
-- like a top-up. allotted stays as it is: what was promised does not change, what was lost does.
CREATE TABLE stock_corrections (
    correction_id uuid PRIMARY KEY,
    reconciliation_id uuid NOT NULL REFERENCES reconciliations,
    sale_id uuid NOT NULL,
    sku text NOT NULL,
    generation integer NOT NULL,
    -- Units; the sign says what it does to what is available.
    quantity integer NOT NULL CHECK (quantity <> 0),
    cause text NOT NULL CHECK (length(cause) BETWEEN 1 AND 200),
    requested_by uuid,
    requested_at timestamptz NOT NULL DEFAULT now(),
    applied_at timestamptz,
    -- What the front said; null until it has answered.
    outcome text CHECK (outcome IN ('applied', 'below_zero', 'sale_missing', 'stale_generation')),
    UNIQUE (reconciliation_id, sale_id, sku),
    FOREIGN KEY (sale_id, sku) REFERENCES sale_items,
    CHECK ((outcome = 'applied') = (applied_at IS NOT NULL))
);

CREATE INDEX stock_corrections_unanswered ON stock_corrections (requested_at)
    WHERE outcome IS NULL;
CREATE INDEX stock_corrections_by_item ON stock_corrections (sale_id, sku, requested_at);
