-- What a token may do and how long; how much a user may have; who is suspended; looking into the audit.

-- Words separated by a blank. Tokens from before go on as they were.
ALTER TABLE tokens ADD COLUMN scopes TEXT NOT NULL DEFAULT 'read write';
UPDATE tokens SET scopes = 'read write host:root admin' WHERE user_id IN (SELECT id FROM users WHERE admin);
ALTER TABLE tokens ADD COLUMN expires_at INTEGER;
ALTER TABLE tokens ADD COLUMN last_used_at INTEGER;

-- Beside the state, not a value of it: a suspended user can be deleted.
ALTER TABLE users ADD COLUMN suspended_at INTEGER;

-- How much a user may have; nothing where the cluster's default holds. Thousandths of a processor, and bytes.
ALTER TABLE users ADD COLUMN quota_containers INTEGER;
ALTER TABLE users ADD COLUMN quota_running_containers INTEGER;
ALTER TABLE users ADD COLUMN quota_cpus INTEGER;
ALTER TABLE users ADD COLUMN quota_memory INTEGER;
ALTER TABLE users ADD COLUMN quota_images INTEGER;
ALTER TABLE users ADD COLUMN quota_hosts INTEGER;
ALTER TABLE users ADD COLUMN quota_queued_jobs INTEGER;

-- The defaults, from the configuration of the coordinator that started last; nothing where there is no limit.
ALTER TABLE cluster ADD COLUMN quota_containers INTEGER;
ALTER TABLE cluster ADD COLUMN quota_running_containers INTEGER;
ALTER TABLE cluster ADD COLUMN quota_cpus INTEGER;
ALTER TABLE cluster ADD COLUMN quota_memory INTEGER;
ALTER TABLE cluster ADD COLUMN quota_images INTEGER;
ALTER TABLE cluster ADD COLUMN quota_hosts INTEGER;
ALTER TABLE cluster ADD COLUMN quota_queued_jobs INTEGER;

-- What of a container's spec counts, so that a sum needs the index alone.
ALTER TABLE containers ADD COLUMN cpus INTEGER NOT NULL DEFAULT 0;
ALTER TABLE containers ADD COLUMN memory INTEGER NOT NULL DEFAULT 0;
UPDATE containers SET cpus = COALESCE(json_extract(spec, '$.resources.cpus'), 0), memory = COALESCE(json_extract(spec, '$.resources.memory'), 0);
CREATE INDEX containers_usage_idx ON containers (user_id, desired, cpus, memory);

CREATE INDEX audit_user_idx ON audit (user_id, id);
CREATE INDEX audit_resource_idx ON audit (resource_id, id);
CREATE INDEX audit_action_idx ON audit (action, id);
