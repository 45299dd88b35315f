-- Templates. What a version says never changes: a change of a template makes the next.
CREATE TABLE templates (
    id         BLOB PRIMARY KEY,
    user_id    BLOB NOT NULL CONSTRAINT templates_user_fkey REFERENCES users (id),
    name       TEXT NOT NULL,
    public     INTEGER NOT NULL,
    version    INTEGER NOT NULL CONSTRAINT templates_version_check CHECK (version > 0),
    created_at INTEGER NOT NULL,
    CONSTRAINT templates_user_name_key UNIQUE (user_id, name)
) STRICT;
CREATE INDEX templates_user_idx ON templates (user_id, id);
CREATE INDEX templates_public_idx ON templates (public, id);

CREATE TABLE template_versions (
    template_id    BLOB NOT NULL CONSTRAINT template_versions_template_fkey REFERENCES templates (id),
    version        INTEGER NOT NULL,
    spec           TEXT NOT NULL,
    archive_sha256 TEXT,
    archive_size   INTEGER,
    created_at     INTEGER NOT NULL,
    PRIMARY KEY (template_id, version),
    CONSTRAINT template_versions_archive_check CHECK ((archive_sha256 IS NULL) = (archive_size IS NULL))
) STRICT;
CREATE INDEX template_versions_archive_idx ON template_versions (archive_sha256) WHERE archive_sha256 IS NOT NULL;
