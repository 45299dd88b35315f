-- The sort of work that a job is: each has places of its own on a host. The index leads from user to user, and of each to
-- the oldest waiting job.
ALTER TABLE jobs ADD COLUMN lane TEXT NOT NULL DEFAULT 'other' CONSTRAINT jobs_lane_check CHECK (lane IN ('build', 'pull', 'other'));
UPDATE jobs SET lane = CASE kind WHEN 'image.build' THEN 'build' WHEN 'image.pull' THEN 'pull' ELSE 'other' END;
CREATE INDEX jobs_waiting_idx ON jobs (host_id, lane, user_id, id) WHERE state = 'queued';
