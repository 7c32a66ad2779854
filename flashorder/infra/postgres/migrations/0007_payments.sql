-- Payments, refunds and the inbox of the providers' webhooks.

CREATE TABLE payments (
    -- UUIDv7; also the idempotency key of the authorisation at the provider.
    payment_id uuid PRIMARY KEY,
    order_id uuid NOT NULL,
    buyer_id uuid NOT NULL,
    provider text NOT NULL CHECK (length(provider) BETWEEN 1 AND 40),
    -- Null until the provider has answered once.
    provider_reference text CHECK (length(provider_reference) BETWEEN 1 AND 200),
    status text NOT NULL DEFAULT 'pending'
        CHECK (status IN ('pending', 'requires_action', 'authorized', 'captured',
                          'failed', 'voided', 'expired')),
    -- What was asked for; once captured, what was taken.
    amount bigint NOT NULL CHECK (amount >= 0),
    currency char(3) NOT NULL,
    method text CHECK (length(method) <= 40),
    return_url text CHECK (length(return_url) <= 2000),
    -- What the buyer has to do, as the provider said it.
    action jsonb,
    attempt smallint NOT NULL CHECK (attempt >= 1),
    -- True for the one captured payment that the order stands on. A second capture of the same
    -- order is money all the same: it is recorded, does not keep the order, and is refunded.
    keeps_order boolean NOT NULL DEFAULT false,
    -- Refunds that are pending or succeeded; the guard against giving back more than was taken.
    refunded_amount bigint NOT NULL DEFAULT 0,
    failure_code text CHECK (length(failure_code) <= 100),
    captured_at timestamptz,
    -- When it ended without money: failed, voided or expired.
    closed_at timestamptz,
    -- Set when the order no longer wants the payment: it is voided at the provider from then on.
    close_requested_at timestamptz,
    -- The provider's last word, whichever way it came.
    last_heard_at timestamptz,
    -- When to ask the provider next, and how often it has been asked; moved on by each claim.
    ask_at timestamptz NOT NULL DEFAULT now(),
    asked integer NOT NULL DEFAULT 0,
    -- How often in a row the provider said that it has no such payment.
    missed smallint NOT NULL DEFAULT 0,
    version integer NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (order_id, attempt),
    CHECK ((status = 'captured') = (captured_at IS NOT NULL)),
    CHECK ((status IN ('failed', 'voided', 'expired')) = (closed_at IS NOT NULL)),
    CHECK (NOT keeps_order OR status = 'captured'),
    CHECK (refunded_amount BETWEEN 0 AND amount),
    CHECK (refunded_amount = 0 OR status = 'captured'),
    CHECK (status = 'pending' OR provider_reference IS NOT NULL OR status = 'failed')
);

CREATE UNIQUE INDEX payments_one_keeps_the_order ON payments (order_id) WHERE keeps_order;
CREATE UNIQUE INDEX payments_one_open_per_provider ON payments (order_id, provider)
    WHERE status IN ('pending', 'requires_action', 'authorized');
CREATE UNIQUE INDEX payments_by_reference ON payments (provider, provider_reference)
    WHERE provider_reference IS NOT NULL;
CREATE INDEX payments_to_ask ON payments (ask_at)
    WHERE status IN ('pending', 'requires_action', 'authorized');
CREATE INDEX payments_by_status ON payments (status, payment_id DESC);

CREATE TABLE refunds (
    -- UUIDv7; also the idempotency key of the refund at the provider.
    refund_id uuid PRIMARY KEY,
    payment_id uuid NOT NULL REFERENCES payments,
    order_id uuid NOT NULL,
    status text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'succeeded', 'failed')),
    amount bigint NOT NULL CHECK (amount > 0),
    currency char(3) NOT NULL,
    reason text NOT NULL CHECK (length(reason) BETWEEN 1 AND 200),
    -- Who asked for it and why, in one word: the same request twice is one refund.
    request_key text NOT NULL CHECK (length(request_key) BETWEEN 1 AND 400),
    -- The operator; null: the house owes it, and tries again by itself when it is refused.
    requested_by uuid,
    attempt smallint NOT NULL DEFAULT 1 CHECK (attempt >= 1),
    provider_reference text CHECK (length(provider_reference) BETWEEN 1 AND 200),
    failure_code text CHECK (length(failure_code) <= 100),
    closed_at timestamptz,
    last_heard_at timestamptz,
    ask_at timestamptz NOT NULL DEFAULT now(),
    asked integer NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (payment_id, request_key),
    CHECK ((status = 'pending') = (closed_at IS NULL))
);

CREATE INDEX refunds_to_drive ON refunds (ask_at) WHERE status = 'pending';
CREATE INDEX refunds_of_order ON refunds (order_id);
CREATE INDEX refunds_refused ON refunds (payment_id) WHERE status = 'failed';

-- What the house owes and the provider has refused to the last attempt: each needs a person, until
-- the money has gone back some other time.
CREATE VIEW refunds_to_decide AS
SELECT refunds.*
FROM refunds JOIN payments USING (payment_id)
WHERE refunds.status = 'failed' AND refunds.requested_by IS NULL
  AND payments.refunded_amount + refunds.amount <= payments.amount
  AND NOT EXISTS (
      SELECT FROM refunds later
      WHERE later.payment_id = refunds.payment_id AND later.reason = refunds.reason
        AND later.requested_by IS NULL AND later.attempt > refunds.attempt);

-- Verified webhooks as they came. One that is here already is a duplicate; one whose payment is not
-- here yet waits. Old rows are removed by age, so the table is bounded by the retention time.
CREATE TABLE payment_webhooks (
    provider text NOT NULL CHECK (length(provider) BETWEEN 1 AND 40),
    event_id text NOT NULL CHECK (length(event_id) BETWEEN 1 AND 200),
    payload bytea NOT NULL CHECK (octet_length(payload) <= 65536),
    -- The payload in the words of the provider port.
    event jsonb NOT NULL,
    -- What the event is about, in the provider's name and in ours.
    payment_reference text,
    payment_id uuid,
    refund_id uuid,
    received_at timestamptz NOT NULL DEFAULT now(),
    -- When a kept one may be applied; pushed back each time that this fails.
    apply_at timestamptz NOT NULL DEFAULT now(),
    failures integer NOT NULL DEFAULT 0,
    applied_at timestamptz,
    outcome text CHECK (outcome IN ('changed', 'unchanged', 'mismatch', 'ignored')),
    PRIMARY KEY (provider, event_id),
    CHECK ((applied_at IS NULL) = (outcome IS NULL))
);

CREATE INDEX payment_webhooks_kept ON payment_webhooks (apply_at) WHERE applied_at IS NULL;
CREATE INDEX payment_webhooks_by_age ON payment_webhooks (received_at);
