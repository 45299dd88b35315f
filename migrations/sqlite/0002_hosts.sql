-- Hosts, the tokens they join with and the certificates they hold. Documents are JSON in TEXT.
CREATE TABLE hosts (
    id                 BLOB PRIMARY KEY,
    user_id            BLOB NOT NULL CONSTRAINT hosts_user_fkey REFERENCES users (id),
    name               TEXT NOT NULL,
    state              TEXT NOT NULL CONSTRAINT hosts_state_check CHECK (state IN ('pending', 'online', 'unreachable', 'deleting')),
    labels             TEXT NOT NULL,
    created_at         INTEGER NOT NULL,
    enrolled_at        INTEGER,
    last_seen_at       INTEGER,
    hostname           TEXT,
    agent_version      TEXT,
    instance           BLOB,
    boot_id            TEXT,
    slots              INTEGER,
    capacity           TEXT,
    docker             TEXT,
    docker_ping_age_ms INTEGER,
    usage              TEXT,
    session_epoch      INTEGER NOT NULL DEFAULT 0,
    CONSTRAINT hosts_user_name_key UNIQUE (user_id, name),
    CONSTRAINT hosts_online_check CHECK (state NOT IN ('online', 'unreachable') OR (last_seen_at IS NOT NULL AND instance IS NOT NULL))
) STRICT;
CREATE INDEX hosts_user_idx ON hosts (user_id, id);
CREATE INDEX hosts_state_idx ON hosts (state, last_seen_at);

CREATE TABLE join_tokens (
    id          BLOB PRIMARY KEY,
    host_id     BLOB NOT NULL CONSTRAINT join_tokens_host_fkey REFERENCES hosts (id),
    secret_hash BLOB NOT NULL,
    created_at  INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL,
    -- The SHA-256 of the public key that redeemed it: the same key gets the same certificate again.
    used_by     BLOB,
    certificate TEXT,
    CONSTRAINT join_tokens_used_check CHECK ((used_by IS NULL) = (certificate IS NULL))
) STRICT;
CREATE INDEX join_tokens_host_idx ON join_tokens (host_id);

-- A certificate that is not here, or is revoked, opens no session.
CREATE TABLE certificates (
    serial     TEXT PRIMARY KEY,
    host_id    BLOB NOT NULL CONSTRAINT certificates_host_fkey REFERENCES hosts (id),
    not_after  INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    revoked_at INTEGER
) STRICT;
CREATE INDEX certificates_host_idx ON certificates (host_id);
