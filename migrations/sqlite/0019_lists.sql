-- An index for each filter of each list, in the order of the list: a page reads as many rows as it shows, however rare
-- they are among how many.
CREATE INDEX containers_user_host_idx ON containers (user_id, host_id, id);
CREATE INDEX containers_user_image_idx ON containers (user_id, image_id, id);
CREATE INDEX containers_user_state_idx ON containers (user_id, observed_state, id);
CREATE INDEX jobs_user_state_idx ON jobs (user_id, state, id);
CREATE INDEX jobs_user_kind_idx ON jobs (user_id, kind, id);
CREATE INDEX jobs_user_host_idx ON jobs (user_id, host_id, id);
-- The state as it is shown.
CREATE INDEX hosts_user_state_idx ON hosts
    (user_id, (CASE WHEN state = 'unreachable' AND conflict IS NOT NULL THEN 'conflict' ELSE state END), id);
CREATE INDEX images_public_name_idx ON images (public, name, id);
DROP INDEX image_hosts_host_idx;
CREATE INDEX image_hosts_host_idx ON image_hosts (host_id, image_id);
CREATE INDEX deliveries_webhook_state_idx ON deliveries (webhook_id, state, id);
CREATE INDEX tokens_user_idx ON tokens (user_id, id);

-- The labels of hosts, images and containers once more, to find them by: written with the documents that they stand in.
CREATE TABLE labels (
    user_id     BLOB NOT NULL CONSTRAINT labels_user_fkey REFERENCES users (id),
    kind        TEXT NOT NULL CONSTRAINT labels_kind_check CHECK (kind IN ('host', 'image', 'container')),
    key         TEXT NOT NULL,
    value       TEXT NOT NULL,
    resource_id BLOB NOT NULL,
    -- Of an image that every user sees.
    public      INTEGER NOT NULL,
    PRIMARY KEY (user_id, kind, key, value, resource_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX labels_public_idx ON labels (kind, key, value, resource_id) WHERE public = TRUE;
CREATE INDEX labels_resource_idx ON labels (resource_id);
INSERT INTO labels SELECT t.user_id, 'host', l.key, l.value, t.id, FALSE FROM hosts t, json_each(t.labels) l;
INSERT INTO labels SELECT t.user_id, 'image', l.key, l.value, t.id, t.public FROM images t, json_each(t.labels) l;
INSERT INTO labels SELECT t.user_id, 'container', l.key, l.value, t.id, FALSE FROM containers t, json_each(t.spec, '$.labels') l;
