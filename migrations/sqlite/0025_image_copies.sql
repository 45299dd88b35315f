-- Images on several hosts: which content an image is (Docker's id, as whoever made it told), and of each host which job brings
-- it there, and whether that failed.
ALTER TABLE images ADD COLUMN docker_id TEXT;
UPDATE images SET docker_id =
    (SELECT h.docker_id FROM image_hosts h WHERE h.image_id = images.id AND h.state = 'present' ORDER BY h.changed_at, h.host_id LIMIT 1);

CREATE TABLE image_hosts_new (
    image_id  BLOB NOT NULL CONSTRAINT image_hosts_image_fkey REFERENCES images (id),
    host_id   BLOB NOT NULL CONSTRAINT image_hosts_host_fkey REFERENCES hosts (id),
    state     TEXT NOT NULL CONSTRAINT image_hosts_state_check CHECK (state IN ('pending', 'present', 'missing', 'failed')),
    docker_id TEXT,
    size      INTEGER,
    changed_at INTEGER NOT NULL,
    job_id    BLOB,
    PRIMARY KEY (image_id, host_id),
    CONSTRAINT image_hosts_present_check CHECK (state <> 'present' OR (docker_id IS NOT NULL AND size IS NOT NULL))
) STRICT;
INSERT INTO image_hosts_new (image_id, host_id, state, docker_id, size, changed_at)
    SELECT image_id, host_id, state, docker_id, size, changed_at FROM image_hosts;
DROP TABLE image_hosts;
ALTER TABLE image_hosts_new RENAME TO image_hosts;
CREATE INDEX image_hosts_host_idx ON image_hosts (host_id, image_id);
