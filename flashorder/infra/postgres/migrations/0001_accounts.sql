-- Who buys and who works here, how they sign in, and where parcels go.

CREATE TABLE accounts (
    account_id uuid PRIMARY KEY,
    email text NOT NULL CHECK (length(email) BETWEEN 3 AND 254),
    -- argon2id in PHC form; null: cannot sign in with a password (minted for load tests).
    password_hash text,
    role text NOT NULL
        CHECK (role IN ('shopper', 'operator', 'warehouse', 'support', 'service')),
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    version integer NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

-- One account an address, however it is capitalised.
CREATE UNIQUE INDEX accounts_by_email ON accounts (lower(email));

-- A sign-in and all refresh tokens that descend from it. Ended sessions are kept until their last
-- access token has expired: the web workers read them to refuse those tokens.
CREATE TABLE sessions (
    session_id uuid PRIMARY KEY,
    account_id uuid NOT NULL REFERENCES accounts,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    ended_at timestamptz,
    end_reason text CHECK (end_reason IN ('signed_out', 'refresh_token_reused')),
    CHECK ((ended_at IS NULL) = (end_reason IS NULL))
);

CREATE INDEX sessions_of_account ON sessions (account_id);
CREATE INDEX sessions_ended ON sessions (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX sessions_by_expiry ON sessions (expires_at);

-- Refresh tokens, only as SHA-256. Each is used once; a second use means that two parties have it,
-- and ends the session.
CREATE TABLE refresh_tokens (
    token_hash bytea PRIMARY KEY CHECK (octet_length(token_hash) = 32),
    session_id uuid NOT NULL REFERENCES sessions ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    used_at timestamptz
);

CREATE INDEX refresh_tokens_of_session ON refresh_tokens (session_id);

CREATE TABLE addresses (
    address_id uuid PRIMARY KEY,
    account_id uuid NOT NULL REFERENCES accounts,
    recipient text NOT NULL CHECK (length(recipient) BETWEEN 1 AND 200),
    line1 text NOT NULL CHECK (length(line1) BETWEEN 1 AND 200),
    line2 text CHECK (length(line2) BETWEEN 1 AND 200),
    city text NOT NULL CHECK (length(city) BETWEEN 1 AND 100),
    region text CHECK (length(region) BETWEEN 1 AND 100),
    postal_code text NOT NULL CHECK (length(postal_code) BETWEEN 1 AND 20),
    -- ISO 3166-1 alpha-2.
    country char(2) NOT NULL CHECK (country ~ '^[A-Z]{2}$'),
    phone text CHECK (length(phone) BETWEEN 3 AND 32),
    version integer NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX addresses_of_account ON addresses (account_id, address_id);
