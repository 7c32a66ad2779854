-- The carrier's own books (SQLite). Times are Unix milliseconds.

CREATE TABLE IF NOT EXISTS labels (
    label_id TEXT PRIMARY KEY,
    -- The caller's key: one key, one label.
    key TEXT NOT NULL UNIQUE,
    fingerprint TEXT NOT NULL,
    request TEXT NOT NULL,
    tracking_number TEXT NOT NULL UNIQUE,
    document_token TEXT NOT NULL UNIQUE,
    status TEXT NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'cancelled')),
    progress TEXT NOT NULL,
    -- When the parcel takes its next step; null once it is delivered or the label cancelled.
    advance_at_ms INTEGER,
    created_at_ms INTEGER NOT NULL,
    cancelled_at_ms INTEGER
);

CREATE INDEX IF NOT EXISTS labels_to_advance ON labels (advance_at_ms)
    WHERE advance_at_ms IS NOT NULL;

CREATE TABLE IF NOT EXISTS events (
    event_no INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id TEXT NOT NULL UNIQUE,
    label_id TEXT NOT NULL REFERENCES labels,
    status TEXT NOT NULL,
    detail TEXT NOT NULL,
    location TEXT NOT NULL,
    occurred_at_ms INTEGER NOT NULL,
    -- When to send the webhook next; null once it has been sent, dropped or given up.
    webhook_at_ms INTEGER,
    webhook_sends_left INTEGER NOT NULL,
    webhook_attempts INTEGER NOT NULL DEFAULT 0,
    webhook_outcome TEXT NOT NULL
        CHECK (webhook_outcome IN ('waiting', 'delivered', 'dropped', 'given_up'))
);

CREATE INDEX IF NOT EXISTS events_of_label ON events (label_id, event_no);
CREATE INDEX IF NOT EXISTS events_to_send ON events (webhook_at_ms)
    WHERE webhook_at_ms IS NOT NULL;

CREATE TABLE IF NOT EXISTS control (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    document TEXT NOT NULL
);
