-- Ended jobs and their logs are removed after a while; of a log that is gone it stays noted that there was one.
ALTER TABLE jobs ADD COLUMN log_removed_at BIGINT;
CREATE INDEX jobs_ended_idx ON jobs (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX jobs_ended_log_idx ON jobs (ended_at) WHERE ended_at IS NOT NULL AND log_size > 0 AND log_removed_at IS NULL;
