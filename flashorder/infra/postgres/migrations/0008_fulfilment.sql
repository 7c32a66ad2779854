-- Shipments: what the warehouse does for a paid order, and what the carrier says of the parcel.
--
-- Cancel against ship is one compare-and-set on the order's row. Both sides lock the orders row
-- first and the shipments row after it: the ship statement reads the order FOR NO KEY UPDATE and
-- wants awaiting_shipment; a cancellation locks the order, and in its next statement (which sees
-- what was committed while it waited) refuses if a shipment of it has shipped. The address goes the
-- same way: asking for a label locks the order and takes the address from it; a change of address
-- locks the order and refuses once a label was asked for.

CREATE TABLE shipments (
    shipment_id uuid PRIMARY KEY,
    order_id uuid NOT NULL REFERENCES orders,
    status text NOT NULL DEFAULT 'pending'
        CHECK (status IN ('pending', 'picking', 'packed', 'shipped', 'delivered', 'cancelled')),
    -- What the carrier last said, apart from what the warehouse did; it only ever moves forward.
    tracking_status text
        CHECK (tracking_status IN ('label_created', 'picked_up', 'in_transit', 'out_for_delivery',
                                   'delivered')),
    -- The newest trouble that the carrier told of; a note beside the progress.
    exception_at timestamptz,
    exception_detail text,
    -- Chosen before the carrier is called and kept, so that a second try asks for the same label.
    carrier text,
    parcels jsonb,
    ship_to jsonb,
    tracking_number text,
    label_reference text,
    label_url text,
    cancel_reason text,
    -- Small queues of the jobs: null when nothing is due.
    label_due_at timestamptz,
    -- How often the chosen carrier was asked, and how often one that was chosen before said no.
    label_attempts integer NOT NULL DEFAULT 0,
    label_refusals integer NOT NULL DEFAULT 0,
    label_cancel_due_at timestamptz,
    tracking_due_at timestamptz,
    picking_at timestamptz,
    packed_at timestamptz,
    shipped_at timestamptz,
    delivered_at timestamptz,
    cancelled_at timestamptz,
    version integer NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CHECK (picking_at IS NOT NULL OR status IN ('pending', 'cancelled')),
    CHECK (packed_at IS NOT NULL OR status IN ('pending', 'picking', 'cancelled')),
    CHECK ((status IN ('shipped', 'delivered')) = (shipped_at IS NOT NULL)),
    CHECK ((status = 'delivered') = (delivered_at IS NOT NULL)),
    CHECK ((status = 'delivered') = (tracking_status IS NOT DISTINCT FROM 'delivered')),
    CHECK ((status = 'cancelled') = (cancelled_at IS NOT NULL)),
    CHECK ((status = 'cancelled') = (cancel_reason IS NOT NULL)),
    CHECK (status NOT IN ('shipped', 'delivered')
           OR (carrier IS NOT NULL AND tracking_number IS NOT NULL AND label_url IS NOT NULL)),
    CHECK (tracking_status IS NULL OR status IN ('shipped', 'delivered')),
    CHECK (label_due_at IS NULL OR (status = 'packed' AND carrier IS NOT NULL)),
    CHECK (label_cancel_due_at IS NULL OR (status = 'cancelled' AND carrier IS NOT NULL)),
    CHECK (tracking_due_at IS NULL OR status = 'shipped')
);

-- For now an order travels in one piece.
CREATE UNIQUE INDEX shipments_one_live_per_order ON shipments (order_id)
    WHERE status <> 'cancelled';
CREATE UNIQUE INDEX shipments_by_tracking_number ON shipments (carrier, tracking_number)
    WHERE tracking_number IS NOT NULL;
CREATE INDEX shipments_of_order ON shipments (order_id);
CREATE INDEX shipments_by_status ON shipments (status, shipment_id DESC);
CREATE INDEX shipments_in_the_warehouse ON shipments (status, updated_at)
    WHERE status IN ('pending', 'picking', 'packed');
CREATE INDEX shipments_label_due ON shipments (label_due_at) WHERE label_due_at IS NOT NULL;
CREATE INDEX shipments_label_cancel_due ON shipments (label_cancel_due_at)
    WHERE label_cancel_due_at IS NOT NULL;
CREATE INDEX shipments_tracking_due ON shipments (tracking_due_at)
    WHERE tracking_due_at IS NOT NULL;

CREATE TABLE shipment_lines (
    shipment_id uuid NOT NULL REFERENCES shipments,
    line_no smallint NOT NULL,
    sku text NOT NULL,
    quantity integer NOT NULL CHECK (quantity > 0),
    PRIMARY KEY (shipment_id, line_no)
);

-- The timeline: contiguous versions, each a step of the shipment's machine or a note beside it.
CREATE TABLE shipment_events (
    shipment_id uuid NOT NULL REFERENCES shipments,
    version integer NOT NULL,
    type text NOT NULL,
    actor text NOT NULL,
    occurred_at timestamptz NOT NULL DEFAULT now(),
    data jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (shipment_id, version)
);

-- What carriers sent, verified, once each; what came before its shipment waits here.
CREATE TABLE carrier_webhooks (
    carrier text NOT NULL,
    event_id text NOT NULL CHECK (length(event_id) BETWEEN 1 AND 255),
    tracking_number text NOT NULL CHECK (length(tracking_number) BETWEEN 1 AND 255),
    tracking_status text NOT NULL
        CHECK (tracking_status IN ('label_created', 'picked_up', 'in_transit', 'out_for_delivery',
                                   'delivered', 'exception')),
    occurred_at timestamptz NOT NULL,
    detail text,
    location text,
    received_at timestamptz NOT NULL DEFAULT now(),
    applied_at timestamptz,
    PRIMARY KEY (carrier, event_id)
);

CREATE INDEX carrier_webhooks_kept ON carrier_webhooks (carrier, tracking_number)
    WHERE applied_at IS NULL;
CREATE INDEX carrier_webhooks_by_age ON carrier_webhooks (received_at);

CREATE TABLE tracking_events (
    carrier text NOT NULL,
    event_id text NOT NULL,
    shipment_id uuid NOT NULL REFERENCES shipments,
    tracking_status text NOT NULL,
    occurred_at timestamptz NOT NULL,
    detail text,
    location text,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (carrier, event_id)
);

CREATE INDEX tracking_events_of_shipment ON tracking_events (shipment_id, occurred_at);
