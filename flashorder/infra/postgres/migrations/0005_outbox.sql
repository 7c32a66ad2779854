-- What one room tells the others, written in the transaction that did it.

CREATE TABLE outbox (
    event_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic text NOT NULL,
    key uuid NOT NULL,
    payload jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    available_at timestamptz NOT NULL DEFAULT now(),
    attempts integer NOT NULL DEFAULT 0,
    -- Kept when an operator has discarded the event; null once every handler has done its part.
    last_error text,
    processed_at timestamptz
);

-- What is due, so that those in backoff cost nobody a look.
CREATE INDEX outbox_due ON outbox (available_at, event_id) WHERE processed_at IS NULL;
CREATE INDEX outbox_waiting_by_key ON outbox (key, event_id) WHERE processed_at IS NULL;
CREATE INDEX outbox_processed ON outbox (processed_at) WHERE processed_at IS NOT NULL;
CREATE INDEX outbox_failed ON outbox (event_id) WHERE last_error IS NOT NULL;

-- Who had a failing event tried again, or gave it up; it outlives the event.
CREATE TABLE outbox_decisions (
    decision_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id bigint NOT NULL,
    topic text NOT NULL,
    key uuid NOT NULL,
    decision text NOT NULL CHECK (decision IN ('retry', 'discard')),
    error text NOT NULL,
    decided_by uuid NOT NULL,
    decided_at timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX outbox_decisions_of_event ON outbox_decisions (event_id, decision_id DESC);

-- Events as operators see them, with what was decided last.
CREATE VIEW outbox_events AS
SELECT outbox.*,
       CASE WHEN processed_at IS NULL
            THEN CASE WHEN last_error IS NULL THEN 'waiting' ELSE 'failing' END
            ELSE CASE WHEN last_error IS NULL THEN 'processed' ELSE 'discarded' END
       END AS status,
       last.decision, last.decided_by, last.decided_at
FROM outbox
LEFT JOIN LATERAL (
    SELECT decision, decided_by, decided_at
    FROM outbox_decisions
    WHERE outbox_decisions.event_id = outbox.event_id
    ORDER BY decision_id DESC
    LIMIT 1
) AS last ON true;
