-- What can be sold, and the ledger of how many there are of it.

CREATE TABLE products (
    -- Printable ASCII without space, comma, colon, at or equals sign: an SKU stands in URLs, CSV,
    -- command lines and the keys' values of the front.
    sku text PRIMARY KEY CHECK (sku ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$'),
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    unit_price_amount bigint NOT NULL CHECK (unit_price_amount BETWEEN 0 AND 1000000000000000),
    currency char(3) NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    -- What an ordinary order meets when nothing is left: a no, a wait, or a later delivery.
    stock_policy text NOT NULL DEFAULT 'refuse'
        CHECK (stock_policy IN ('refuse', 'wait', 'back_order')),
    weight_grams integer CHECK (weight_grams BETWEEN 0 AND 10000000),
    version integer NOT NULL DEFAULT 1 CHECK (version >= 1),
    active boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    -- When an operator last said what it is called, costs or weighs: no import says otherwise.
    edited_at timestamptz
);

-- Every change of stock, never edited. A kind moves one or both of two levels:
--   received, returned, adjusted   on hand and available (units come, or a count says otherwise)
--   allocated                      available only, away to a sale
--   reserved                       available only, away to an order
--   released                       available only, back from either
--   shipped                        on hand only: an allocated or reserved unit leaves the house
CREATE TABLE stock_movements (
    -- Derived from what caused it, so that writing it twice is writing it once.
    movement_id uuid PRIMARY KEY,
    -- The order of the ledger, for reading it page by page.
    entry_no bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    sku text NOT NULL REFERENCES products,
    kind text NOT NULL
        CHECK (kind IN ('received', 'allocated', 'reserved', 'released', 'shipped', 'returned',
                        'adjusted')),
    -- Units; the sign says what it does to the level.
    quantity integer NOT NULL CHECK (quantity <> 0),
    -- Why, as a word for programs ("import", "sale_opened", "count", …).
    cause text NOT NULL CHECK (length(cause) BETWEEN 1 AND 200),
    -- What it belongs to: a sale, an order, a shipment, a delivery note.
    reference text CHECK (length(reference) BETWEEN 1 AND 200),
    actor text NOT NULL CHECK (length(actor) BETWEEN 1 AND 200),
    occurred_at timestamptz NOT NULL DEFAULT now(),
    CHECK (kind NOT IN ('received', 'released', 'returned') OR quantity > 0),
    CHECK (kind NOT IN ('allocated', 'reserved', 'shipped') OR quantity < 0)
);

CREATE INDEX stock_movements_by_sku ON stock_movements (sku, entry_no DESC);
CREATE INDEX stock_movements_by_reference ON stock_movements (reference, sku)
    WHERE reference IS NOT NULL;

CREATE FUNCTION stock_movements_are_final() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a stock movement is final: write another that corrects it'
        USING ERRCODE = 'restrict_violation';
END $$;

CREATE TRIGGER stock_movements_append_only
    BEFORE UPDATE OR DELETE OR TRUNCATE ON stock_movements
    FOR EACH STATEMENT EXECUTE FUNCTION stock_movements_are_final();

-- The sums of the movements, kept by the statement that writes them: one row to lock an SKU by,
-- and checks that refuse what is not there.
CREATE TABLE stock_levels (
    sku text PRIMARY KEY REFERENCES products,
    on_hand bigint NOT NULL DEFAULT 0,
    available bigint NOT NULL DEFAULT 0,
    CONSTRAINT stock_levels_on_hand CHECK (on_hand >= 0),
    CONSTRAINT stock_levels_available CHECK (available >= 0)
);

CREATE FUNCTION stock_movements_move_levels() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- Rows first, in one order, so that two statements cannot wait for each other; then the sums.
    INSERT INTO stock_levels (sku)
    SELECT DISTINCT sku FROM written ORDER BY sku
    ON CONFLICT (sku) DO NOTHING;
    PERFORM 1 FROM stock_levels
    WHERE sku IN (SELECT sku FROM written) ORDER BY sku FOR UPDATE;
    UPDATE stock_levels AS level
    SET on_hand = level.on_hand + moved.on_hand,
        available = level.available + moved.available
    FROM (
        SELECT sku,
               coalesce(sum(quantity) FILTER (
                   WHERE kind IN ('received', 'returned', 'adjusted', 'shipped')), 0) AS on_hand,
               coalesce(sum(quantity) FILTER (WHERE kind <> 'shipped'), 0) AS available
        FROM written
        GROUP BY sku
    ) AS moved
    WHERE level.sku = moved.sku;
    RETURN NULL;
END $$;

CREATE TRIGGER stock_movements_levels
    AFTER INSERT ON stock_movements
    REFERENCING NEW TABLE AS written
    FOR EACH STATEMENT EXECUTE FUNCTION stock_movements_move_levels();
