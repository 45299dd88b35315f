-- Which containers a configuration converges, and which of them was converged last: Docker's id says which one a container is,
-- and another id, however it came about, is a container whose files no converge has touched.
ALTER TABLE containers ADD COLUMN configured INTEGER NOT NULL DEFAULT 0;
ALTER TABLE containers ADD COLUMN converged_docker_id TEXT;
ALTER TABLE containers ADD COLUMN converged_version INTEGER;
-- What is there by now is left as it is.
UPDATE containers SET configured = 1, converged_docker_id = observed_docker_id
    WHERE observed_docker_id IS NOT NULL AND EXISTS (
        SELECT 1 FROM images i JOIN configurations c ON c.id = i.configuration_id
        WHERE i.id = containers.image_id AND c.user_id = containers.user_id);
CREATE INDEX containers_unconverged_idx ON containers (id)
    WHERE configured AND (converged_docker_id IS NULL OR converged_docker_id <> observed_docker_id);

-- The converges that were asked for because they were due, of the one that has this id of Docker's: a row goes once it is converged.
CREATE TABLE convergences (
    container_id BLOB PRIMARY KEY,
    docker_id    TEXT NOT NULL,
    -- The job that was asked for last.
    job_id       BLOB,
    tries        INTEGER NOT NULL,
    due_at       INTEGER NOT NULL,
    -- Why it is not asked for again.
    ended        TEXT CONSTRAINT convergences_ended_check CHECK (ended IN ('failed', 'cancelled'))
) STRICT;
