-- Configurations: what a client chose from a template. Secrets are apart from the other parameters, sealed.
CREATE TABLE configurations (
    id          BLOB PRIMARY KEY,
    user_id     BLOB NOT NULL CONSTRAINT configurations_user_fkey REFERENCES users (id),
    name        TEXT NOT NULL,
    template_id BLOB NOT NULL CONSTRAINT configurations_template_fkey REFERENCES templates (id),
    version     INTEGER NOT NULL CONSTRAINT configurations_version_check CHECK (version > 0),
    created_at  INTEGER NOT NULL,
    CONSTRAINT configurations_user_name_key UNIQUE (user_id, name)
) STRICT;
CREATE INDEX configurations_user_idx ON configurations (user_id, id);
CREATE INDEX configurations_template_idx ON configurations (template_id);

CREATE TABLE configuration_versions (
    configuration_id BLOB NOT NULL CONSTRAINT configuration_versions_configuration_fkey REFERENCES configurations (id),
    version          INTEGER NOT NULL,
    template_id      BLOB NOT NULL,
    template_version INTEGER NOT NULL,
    parameters       TEXT NOT NULL,
    run_list         TEXT NOT NULL,
    attributes       TEXT NOT NULL,
    secrets          TEXT NOT NULL,
    sealed_secrets   BLOB,
    created_at       INTEGER NOT NULL,
    PRIMARY KEY (configuration_id, version),
    CONSTRAINT configuration_versions_template_fkey
        FOREIGN KEY (template_id, template_version) REFERENCES template_versions (template_id, version)
) STRICT;
