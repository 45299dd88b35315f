-- Images, and which hosts they are on.
CREATE TABLE images (
    id             UUID PRIMARY KEY,
    user_id        UUID NOT NULL CONSTRAINT images_user_fkey REFERENCES users (id),
    name           TEXT NOT NULL,
    state          TEXT NOT NULL CONSTRAINT images_state_check CHECK (state IN ('pending', 'ready', 'deleting')),
    public         BOOLEAN NOT NULL,
    reference      TEXT,
    context_sha256 TEXT,
    context_size   BIGINT,
    dockerfile     TEXT,
    build_args     TEXT,
    no_cache       BOOLEAN NOT NULL,
    labels         TEXT NOT NULL,
    created_at     BIGINT NOT NULL,
    CONSTRAINT images_user_name_key UNIQUE (user_id, name),
    -- Pulled by reference, or built from a context: one of the two, whole.
    CONSTRAINT images_source_check CHECK (
        (reference IS NOT NULL AND context_sha256 IS NULL AND context_size IS NULL AND dockerfile IS NULL AND build_args IS NULL)
        OR (reference IS NULL AND context_sha256 IS NOT NULL AND context_size IS NOT NULL AND dockerfile IS NOT NULL AND build_args IS NOT NULL)
    )
);
CREATE INDEX images_user_idx ON images (user_id, id);
CREATE INDEX images_public_idx ON images (public, id);

CREATE TABLE image_hosts (
    image_id  UUID NOT NULL CONSTRAINT image_hosts_image_fkey REFERENCES images (id),
    host_id   UUID NOT NULL CONSTRAINT image_hosts_host_fkey REFERENCES hosts (id),
    state     TEXT NOT NULL CONSTRAINT image_hosts_state_check CHECK (state IN ('pending', 'present', 'missing')),
    docker_id TEXT,
    size      BIGINT,
    changed_at BIGINT NOT NULL,
    PRIMARY KEY (image_id, host_id),
    CONSTRAINT image_hosts_present_check CHECK (state <> 'present' OR (docker_id IS NOT NULL AND size IS NOT NULL))
);
CREATE INDEX image_hosts_host_idx ON image_hosts (host_id);
