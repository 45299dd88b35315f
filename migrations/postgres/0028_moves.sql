-- Containers on their way to another host. What is set aside for one counts on both of its hosts until it has arrived. A
-- row goes with the end of its job; it outlives the container and the hosts, of which something may be left to be taken away.
CREATE TABLE moves (
    job_id       UUID PRIMARY KEY,
    container_id UUID NOT NULL CONSTRAINT moves_container_key UNIQUE,
    user_id      UUID NOT NULL,
    source_id    UUID NOT NULL,
    target_id    UUID NOT NULL,
    receive      TEXT NOT NULL,
    run          BOOLEAN NOT NULL,
    grace        BIGINT NOT NULL,
    cpus         BIGINT NOT NULL,
    memory       BIGINT NOT NULL,
    CONSTRAINT moves_hosts_check CHECK (source_id <> target_id)
);
CREATE INDEX moves_user_idx ON moves (user_id);
CREATE INDEX moves_source_idx ON moves (source_id);
CREATE INDEX moves_target_idx ON moves (target_id);
