-- Containers that their users stop, how healthy they are, and what they are being changed to. SQLite changes a CHECK only
-- by making the table anew (https://sqlite.org/lang_altertable.html#otheralter). No table refers to this one, so that
-- nothing else has to be touched, and the whole is one transaction.
CREATE TABLE containers_new (
    id                  BLOB PRIMARY KEY,
    user_id             BLOB NOT NULL CONSTRAINT containers_user_fkey REFERENCES users (id),
    host_id             BLOB NOT NULL CONSTRAINT containers_host_fkey REFERENCES hosts (id),
    image_id            BLOB NOT NULL CONSTRAINT containers_image_fkey REFERENCES images (id),
    -- The image it is being changed to: kept until that has happened or failed.
    next_image_id       BLOB CONSTRAINT containers_next_image_fkey REFERENCES images (id),
    name                TEXT NOT NULL,
    spec                TEXT NOT NULL,
    desired             TEXT NOT NULL CONSTRAINT containers_desired_check CHECK (desired IN ('running', 'stopped', 'removed')),
    created_at          INTEGER NOT NULL,
    observed_state      TEXT NOT NULL DEFAULT 'pending' CONSTRAINT containers_observed_check CHECK (
        observed_state IN ('pending', 'created', 'running', 'paused', 'restarting', 'exited', 'removing', 'dead', 'missing')),
    observed_health     TEXT CONSTRAINT containers_health_check CHECK (observed_health IN ('starting', 'healthy', 'unhealthy')),
    observed_docker_id  TEXT,
    observed_exit_code  INTEGER,
    observed_started_at INTEGER,
    observed_ports      TEXT NOT NULL DEFAULT '[]',
    observed_address    TEXT,
    observed_at         INTEGER,
    cpus                INTEGER NOT NULL DEFAULT 0,
    memory              INTEGER NOT NULL DEFAULT 0,
    CONSTRAINT containers_user_name_key UNIQUE (user_id, name),
    CONSTRAINT containers_docker_id_check CHECK (observed_state IN ('pending', 'missing') OR observed_docker_id IS NOT NULL)
) STRICT;
INSERT INTO containers_new (id, user_id, host_id, image_id, name, spec, desired, created_at, observed_state,
    observed_docker_id, observed_exit_code, observed_started_at, observed_ports, observed_address, observed_at, cpus, memory)
SELECT id, user_id, host_id, image_id, name, spec, desired, created_at, observed_state,
    observed_docker_id, observed_exit_code, observed_started_at, observed_ports, observed_address, observed_at, cpus, memory
FROM containers;
DROP TABLE containers;
ALTER TABLE containers_new RENAME TO containers;
CREATE INDEX containers_user_idx ON containers (user_id, id);
CREATE INDEX containers_host_idx ON containers (host_id);
CREATE INDEX containers_image_idx ON containers (image_id);
CREATE INDEX containers_next_image_idx ON containers (next_image_id) WHERE next_image_id IS NOT NULL;
CREATE INDEX containers_usage_idx ON containers (user_id, desired, cpus, memory);
