-- The queue. Every change of a row is one conditional UPDATE on state and attempt. host_id has no foreign key: a job
-- outlives its host.
CREATE TABLE jobs (
    id               BLOB PRIMARY KEY,
    user_id          BLOB NOT NULL CONSTRAINT jobs_user_fkey REFERENCES users (id),
    host_id          BLOB,
    parent_id        BLOB CONSTRAINT jobs_parent_fkey REFERENCES jobs (id),
    kind             TEXT NOT NULL,
    subject_kind     TEXT NOT NULL,
    subject_id       BLOB NOT NULL,
    state            TEXT NOT NULL CONSTRAINT jobs_state_check CHECK (
        state IN ('queued', 'assigned', 'running', 'unknown', 'cancelling', 'succeeded', 'failed', 'cancelled')),
    attempt          INTEGER NOT NULL DEFAULT 0,
    command          TEXT,
    run_after        INTEGER NOT NULL,
    deadline_at      INTEGER NOT NULL,
    progress_step    TEXT,
    progress_percent INTEGER,
    error_kind       TEXT,
    error_detail     TEXT,
    product          TEXT,
    log_size         INTEGER NOT NULL DEFAULT 0,
    log_base         INTEGER NOT NULL DEFAULT 0,
    created_at       INTEGER NOT NULL,
    started_at       INTEGER,
    ended_at         INTEGER,
    CONSTRAINT jobs_ended_check CHECK ((state IN ('succeeded', 'failed', 'cancelled')) = (ended_at IS NOT NULL)),
    CONSTRAINT jobs_error_check CHECK ((state = 'failed') = (error_kind IS NOT NULL AND error_detail IS NOT NULL)),
    CONSTRAINT jobs_product_check CHECK (product IS NULL OR state = 'succeeded'),
    CONSTRAINT jobs_attempt_check CHECK (host_id IS NULL OR state NOT IN ('assigned', 'running') OR attempt > 0),
    CONSTRAINT jobs_command_check CHECK ((host_id IS NULL) = (command IS NULL))
) STRICT;
CREATE INDEX jobs_user_idx ON jobs (user_id, id);
CREATE INDEX jobs_parent_idx ON jobs (parent_id) WHERE parent_id IS NOT NULL;
CREATE INDEX jobs_open_host_idx ON jobs (host_id, state, id) WHERE ended_at IS NULL;
CREATE INDEX jobs_open_subject_idx ON jobs (subject_id, id) WHERE ended_at IS NULL;
CREATE INDEX jobs_open_user_idx ON jobs (user_id) WHERE ended_at IS NULL;

-- What jobs wrote, in pieces as they came: a piece begins where the one before ends.
CREATE TABLE job_logs (
    job_id   BLOB NOT NULL CONSTRAINT job_logs_job_fkey REFERENCES jobs (id),
    position INTEGER NOT NULL,
    bytes    BLOB NOT NULL,
    PRIMARY KEY (job_id, position)
) STRICT;
