-- Containers: what each is meant to be, and what its host showed last. The columns under observed_ are written from
-- agents' reports alone, the others by the API alone.
CREATE TABLE containers (
    id                  BLOB PRIMARY KEY,
    user_id             BLOB NOT NULL CONSTRAINT containers_user_fkey REFERENCES users (id),
    host_id             BLOB NOT NULL CONSTRAINT containers_host_fkey REFERENCES hosts (id),
    image_id            BLOB NOT NULL CONSTRAINT containers_image_fkey REFERENCES images (id),
    name                TEXT NOT NULL,
    spec                TEXT NOT NULL,
    desired             TEXT NOT NULL CONSTRAINT containers_desired_check CHECK (desired IN ('running', 'removed')),
    created_at          INTEGER NOT NULL,
    observed_state      TEXT NOT NULL DEFAULT 'pending' CONSTRAINT containers_observed_check CHECK (
        observed_state IN ('pending', 'created', 'running', 'paused', 'restarting', 'exited', 'removing', 'dead', 'missing')),
    observed_docker_id  TEXT,
    observed_exit_code  INTEGER,
    observed_started_at INTEGER,
    observed_ports      TEXT NOT NULL DEFAULT '[]',
    observed_address    TEXT,
    observed_at         INTEGER,
    CONSTRAINT containers_user_name_key UNIQUE (user_id, name),
    CONSTRAINT containers_docker_id_check CHECK (observed_state IN ('pending', 'missing') OR observed_docker_id IS NOT NULL)
) STRICT;
CREATE INDEX containers_user_idx ON containers (user_id, id);
CREATE INDEX containers_host_idx ON containers (host_id);
CREATE INDEX containers_image_idx ON containers (image_id);
