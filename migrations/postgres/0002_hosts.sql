-- Hosts, the tokens they join with and the certificates they hold. Documents are JSON in TEXT.
CREATE TABLE hosts (
    id                 UUID PRIMARY KEY,
    user_id            UUID NOT NULL CONSTRAINT hosts_user_fkey REFERENCES users (id),
    name               TEXT NOT NULL,
    state              TEXT NOT NULL CONSTRAINT hosts_state_check CHECK (state IN ('pending', 'online', 'unreachable', 'deleting')),
    labels             TEXT NOT NULL,
    created_at         BIGINT NOT NULL,
    enrolled_at        BIGINT,
    last_seen_at       BIGINT,
    hostname           TEXT,
    agent_version      TEXT,
    instance           UUID,
    boot_id            TEXT,
    slots              BIGINT,
    capacity           TEXT,
    docker             TEXT,
    docker_ping_age_ms BIGINT,
    usage              TEXT,
    session_epoch      BIGINT NOT NULL DEFAULT 0,
    CONSTRAINT hosts_user_name_key UNIQUE (user_id, name),
    CONSTRAINT hosts_online_check CHECK (state NOT IN ('online', 'unreachable') OR (last_seen_at IS NOT NULL AND instance IS NOT NULL))
);
CREATE INDEX hosts_user_idx ON hosts (user_id, id);
CREATE INDEX hosts_state_idx ON hosts (state, last_seen_at);

CREATE TABLE join_tokens (
    id          UUID PRIMARY KEY,
    host_id     UUID NOT NULL CONSTRAINT join_tokens_host_fkey REFERENCES hosts (id),
    secret_hash BYTEA NOT NULL,
    created_at  BIGINT NOT NULL,
    expires_at  BIGINT NOT NULL,
    -- The SHA-256 of the public key that redeemed it: the same key gets the same certificate again.
    used_by     BYTEA,
    certificate TEXT,
    CONSTRAINT join_tokens_used_check CHECK ((used_by IS NULL) = (certificate IS NULL))
);
CREATE INDEX join_tokens_host_idx ON join_tokens (host_id);

-- A certificate that is not here, or is revoked, opens no session.
CREATE TABLE certificates (
    serial     TEXT PRIMARY KEY,
    host_id    UUID NOT NULL CONSTRAINT certificates_host_fkey REFERENCES hosts (id),
    not_after  BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    revoked_at BIGINT
);
CREATE INDEX certificates_host_idx ON certificates (host_id);
