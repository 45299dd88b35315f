-- What links provision: an account in a container that provides a service, for one that uses it. A grant that is revoked has
-- no password any more, and stays until a converge of the provider has taken the account away.
CREATE TABLE grants (
    id           BLOB PRIMARY KEY,
    user_id      BLOB NOT NULL,
    -- Whose link it is, and to which container.
    container_id BLOB NOT NULL,
    target_id    BLOB NOT NULL,
    alias        TEXT NOT NULL,
    fields       TEXT NOT NULL,
    secrets      TEXT NOT NULL,
    sealed       BLOB,
    revoked      INTEGER NOT NULL DEFAULT 0,
    -- The job whose node says that it is revoked.
    shown_to     BLOB,
    tries        INTEGER NOT NULL DEFAULT 0,
    due_at       INTEGER NOT NULL DEFAULT 0,
    CONSTRAINT grants_sealed_check CHECK (revoked = (sealed IS NULL))
) STRICT;
CREATE INDEX grants_container_idx ON grants (container_id);
CREATE INDEX grants_target_idx ON grants (target_id);
CREATE INDEX grants_due_idx ON grants (due_at) WHERE revoked;
