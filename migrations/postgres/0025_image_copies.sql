-- Images on several hosts: which content an image is (Docker's id, as whoever made it told), and of each host which job brings
-- it there, and whether that failed.
ALTER TABLE images ADD COLUMN docker_id TEXT;
UPDATE images SET docker_id =
    (SELECT h.docker_id FROM image_hosts h WHERE h.image_id = images.id AND h.state = 'present' ORDER BY h.changed_at, h.host_id LIMIT 1);

ALTER TABLE image_hosts ADD COLUMN job_id UUID;
ALTER TABLE image_hosts DROP CONSTRAINT image_hosts_state_check;
ALTER TABLE image_hosts ADD CONSTRAINT image_hosts_state_check CHECK (state IN ('pending', 'present', 'missing', 'failed'));
