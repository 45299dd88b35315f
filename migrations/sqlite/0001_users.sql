-- The cluster, its users and their API tokens. Times are microseconds since 1970-01-01 UTC.
CREATE TABLE cluster (
    id         BLOB PRIMARY KEY,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE users (
    id         BLOB PRIMARY KEY,
    name       TEXT NOT NULL,
    admin      INTEGER NOT NULL,
    state      TEXT NOT NULL CONSTRAINT users_state_check CHECK (state IN ('active', 'deleting')),
    created_at INTEGER NOT NULL,
    CONSTRAINT users_name_key UNIQUE (name)
) STRICT;

-- Only a hash of each key is kept: SHA-256, since our keys are 256 random bits.
CREATE TABLE tokens (
    id         BLOB PRIMARY KEY,
    user_id    BLOB NOT NULL CONSTRAINT tokens_user_fkey REFERENCES users (id),
    name       TEXT NOT NULL,
    key_hash   BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    CONSTRAINT tokens_key_hash_key UNIQUE (key_hash),
    CONSTRAINT tokens_user_name_key UNIQUE (user_id, name)
) STRICT;
