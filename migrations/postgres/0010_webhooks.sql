-- Each user's data key, wrapped under the installation's master key: what is sealed under it goes with the user.
CREATE TABLE data_keys (
    user_id UUID PRIMARY KEY CONSTRAINT data_keys_user_fkey REFERENCES users (id),
    wrapped BYTEA NOT NULL
);

-- Where events are sent, and every sending of one.
CREATE TABLE webhooks (
    id             UUID PRIMARY KEY,
    user_id        UUID NOT NULL CONSTRAINT webhooks_user_fkey REFERENCES users (id),
    url            TEXT NOT NULL,
    kinds          TEXT NOT NULL,
    everybody      BOOLEAN NOT NULL,
    sealed_secret  BYTEA NOT NULL,
    state          TEXT NOT NULL CONSTRAINT webhooks_state_check CHECK (state IN ('active', 'disabled')),
    -- Deliveries of all events up to here are made.
    event_position BIGINT NOT NULL,
    created_at     BIGINT NOT NULL
);
CREATE INDEX webhooks_user_idx ON webhooks (user_id, id);

CREATE TABLE deliveries (
    id         UUID PRIMARY KEY,
    webhook_id UUID NOT NULL CONSTRAINT deliveries_webhook_fkey REFERENCES webhooks (id),
    event_id   BIGINT NOT NULL,
    kind       TEXT NOT NULL,
    body       TEXT NOT NULL,
    state      TEXT NOT NULL CONSTRAINT deliveries_state_check CHECK (state IN ('pending', 'delivered', 'failed')),
    attempts   BIGINT NOT NULL DEFAULT 0,
    next_at    BIGINT,
    status     BIGINT,
    error      TEXT,
    created_at BIGINT NOT NULL,
    ended_at   BIGINT,
    CONSTRAINT deliveries_event_key UNIQUE (webhook_id, event_id),
    CONSTRAINT deliveries_next_check CHECK ((state = 'pending') = (next_at IS NOT NULL)),
    CONSTRAINT deliveries_ended_check CHECK ((state = 'pending') = (ended_at IS NULL))
);
CREATE INDEX deliveries_webhook_idx ON deliveries (webhook_id, id);
CREATE INDEX deliveries_due_idx ON deliveries (next_at) WHERE next_at IS NOT NULL;
CREATE INDEX deliveries_ended_idx ON deliveries (ended_at) WHERE ended_at IS NOT NULL;
