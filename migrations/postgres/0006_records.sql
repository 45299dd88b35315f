-- What happened (for whoever watches), who did what (for the administrator), and what a repeated request gets.
CREATE TABLE events (
    id            BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at            BIGINT NOT NULL,
    user_id       UUID NOT NULL,
    kind          TEXT NOT NULL,
    resource_kind TEXT NOT NULL,
    resource_id   UUID NOT NULL,
    detail        TEXT
);
CREATE INDEX events_user_idx ON events (user_id, id);

-- Append only.
CREATE TABLE audit (
    id            BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at            BIGINT NOT NULL,
    actor_id      UUID NOT NULL,
    user_id       UUID NOT NULL,
    action        TEXT NOT NULL,
    resource_kind TEXT NOT NULL,
    resource_id   UUID NOT NULL,
    request_id    TEXT NOT NULL,
    remote        TEXT NOT NULL
);

-- The Idempotency-Key itself is not kept, but its hash; what was answered once only (a key, a join token) is sealed
-- under a key derived from it.
CREATE TABLE idempotency (
    user_id       UUID NOT NULL,
    key_hash      BYTEA NOT NULL,
    fingerprint   BYTEA NOT NULL,
    resource_kind TEXT NOT NULL,
    resource_id   UUID NOT NULL,
    sealed        BYTEA,
    created_at    BIGINT NOT NULL,
    CONSTRAINT idempotency_pkey PRIMARY KEY (user_id, key_hash)
);
CREATE INDEX idempotency_age_idx ON idempotency (created_at);
