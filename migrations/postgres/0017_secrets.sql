-- Values of containers' secrets, sealed under their users' data keys. A container's spec names them by their ids; until a
-- change has happened or failed, both its old values and its new ones are here.
CREATE TABLE secrets (
    id           UUID PRIMARY KEY,
    container_id UUID NOT NULL,
    sealed       BYTEA NOT NULL
);
CREATE INDEX secrets_container_idx ON secrets (container_id);
