-- Hosts that the strategist places containers of all users on, hosts that take nothing new, and what is set aside for each
-- container: what it may use at most, beside its specification, so that a sum needs no document to be read.
ALTER TABLE hosts ADD COLUMN pool BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE hosts ADD COLUMN draining BOOLEAN NOT NULL DEFAULT FALSE;
CREATE INDEX hosts_pool_idx ON hosts (id) WHERE pool;

-- Thousandths of a processor, and bytes; 0 where it has no limit.
ALTER TABLE containers ADD COLUMN reserved_cpus BIGINT NOT NULL DEFAULT 0;
ALTER TABLE containers ADD COLUMN reserved_memory BIGINT NOT NULL DEFAULT 0;
UPDATE containers SET
    reserved_cpus = COALESCE((spec::json #>> '{resources,cpus}')::bigint, 0),
    reserved_memory = COALESCE((spec::json #>> '{resources,memory}')::bigint, 0);

-- Who has had a container on another's host: his network and his volumes there go when he or the host goes.
CREATE TABLE host_tenants (
    host_id UUID NOT NULL CONSTRAINT host_tenants_host_fkey REFERENCES hosts (id),
    user_id UUID NOT NULL CONSTRAINT host_tenants_user_fkey REFERENCES users (id),
    PRIMARY KEY (host_id, user_id)
);
CREATE INDEX host_tenants_user_idx ON host_tenants (user_id);

-- The job that has to end first: the pull of the image that a container is made of. It may have gone meanwhile.
ALTER TABLE jobs ADD COLUMN after_id UUID;
