-- The context that a job's host fetches, where it is no image's: kept as long as the job is unfinished.
ALTER TABLE jobs ADD COLUMN context_sha256 TEXT;
CREATE INDEX jobs_context_idx ON jobs (context_sha256) WHERE context_sha256 IS NOT NULL AND ended_at IS NULL;
