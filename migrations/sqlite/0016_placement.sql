-- Hosts that the strategist places containers of all users on, and hosts that take nothing new.
ALTER TABLE hosts ADD COLUMN pool INTEGER NOT NULL DEFAULT 0;
ALTER TABLE hosts ADD COLUMN draining INTEGER NOT NULL DEFAULT 0;
CREATE INDEX hosts_pool_idx ON hosts (id) WHERE pool;

-- Who has had a container on another's host: his network and his volumes there go when he or the host goes.
CREATE TABLE host_tenants (
    host_id BLOB NOT NULL CONSTRAINT host_tenants_host_fkey REFERENCES hosts (id),
    user_id BLOB NOT NULL CONSTRAINT host_tenants_user_fkey REFERENCES users (id),
    PRIMARY KEY (host_id, user_id)
) STRICT;
CREATE INDEX host_tenants_user_idx ON host_tenants (user_id);

-- The job that has to end first: the pull of the image that a container is made of. It may have gone meanwhile.
ALTER TABLE jobs ADD COLUMN after_id BLOB;
