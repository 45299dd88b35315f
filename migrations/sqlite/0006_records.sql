-- What happened (for whoever watches), who did what (for the administrator), and what a repeated request gets.
CREATE TABLE events (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    at            INTEGER NOT NULL,
    user_id       BLOB NOT NULL,
    kind          TEXT NOT NULL,
    resource_kind TEXT NOT NULL,
    resource_id   BLOB NOT NULL,
    detail        TEXT
) STRICT;
CREATE INDEX events_user_idx ON events (user_id, id);

-- Append only.
CREATE TABLE audit (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    at            INTEGER NOT NULL,
    actor_id      BLOB NOT NULL,
    user_id       BLOB NOT NULL,
    action        TEXT NOT NULL,
    resource_kind TEXT NOT NULL,
    resource_id   BLOB NOT NULL,
    request_id    TEXT NOT NULL,
    remote        TEXT NOT NULL
) STRICT;

-- The Idempotency-Key itself is not kept, but its hash; what was answered once only (a key, a join token) is sealed
-- under a key derived from it.
CREATE TABLE idempotency (
    user_id       BLOB NOT NULL,
    key_hash      BLOB NOT NULL,
    fingerprint   BLOB NOT NULL,
    resource_kind TEXT NOT NULL,
    resource_id   BLOB NOT NULL,
    sealed        BLOB,
    created_at    INTEGER NOT NULL,
    CONSTRAINT idempotency_pkey PRIMARY KEY (user_id, key_hash)
) STRICT;
CREATE INDEX idempotency_age_idx ON idempotency (created_at);
