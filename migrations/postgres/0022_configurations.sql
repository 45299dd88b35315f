-- Configurations: what a client chose from a template. Secrets are apart from the other parameters, sealed.
CREATE TABLE configurations (
    id          UUID PRIMARY KEY,
    user_id     UUID NOT NULL CONSTRAINT configurations_user_fkey REFERENCES users (id),
    name        TEXT NOT NULL,
    template_id UUID NOT NULL CONSTRAINT configurations_template_fkey REFERENCES templates (id),
    version     BIGINT NOT NULL CONSTRAINT configurations_version_check CHECK (version > 0),
    created_at  BIGINT NOT NULL,
    CONSTRAINT configurations_user_name_key UNIQUE (user_id, name)
);
CREATE INDEX configurations_user_idx ON configurations (user_id, id);
CREATE INDEX configurations_template_idx ON configurations (template_id);

CREATE TABLE configuration_versions (
    configuration_id UUID NOT NULL CONSTRAINT configuration_versions_configuration_fkey REFERENCES configurations (id),
    version          BIGINT NOT NULL,
    template_id      UUID NOT NULL,
    template_version BIGINT NOT NULL,
    parameters       TEXT NOT NULL,
    run_list         TEXT NOT NULL,
    attributes       TEXT NOT NULL,
    secrets          TEXT NOT NULL,
    sealed_secrets   BYTEA,
    created_at       BIGINT NOT NULL,
    PRIMARY KEY (configuration_id, version),
    CONSTRAINT configuration_versions_template_fkey
        FOREIGN KEY (template_id, template_version) REFERENCES template_versions (template_id, version)
);
