-- Containers on their way to another host. What is set aside for one counts on both of its hosts until it has arrived. A
-- row goes with the end of its job; it outlives the container and the hosts, of which something may be left to be taken away.
CREATE TABLE moves (
    job_id       BLOB PRIMARY KEY,
    container_id BLOB NOT NULL CONSTRAINT moves_container_key UNIQUE,
    user_id      BLOB NOT NULL,
    source_id    BLOB NOT NULL,
    target_id    BLOB NOT NULL,
    receive      TEXT NOT NULL,
    run          INTEGER NOT NULL,
    grace        INTEGER NOT NULL,
    cpus         INTEGER NOT NULL,
    memory       INTEGER NOT NULL,
    CONSTRAINT moves_hosts_check CHECK (source_id <> target_id)
) STRICT;
CREATE INDEX moves_user_idx ON moves (user_id);
CREATE INDEX moves_source_idx ON moves (source_id);
CREATE INDEX moves_target_idx ON moves (target_id);
