-- Images in the registry: in which repository each is or is to be, and under which digest it is there; and those that are gone
-- from everywhere else and are to go from there too.
ALTER TABLE images ADD COLUMN registry_repository TEXT;
ALTER TABLE images ADD COLUMN registry_digest TEXT;

-- Where that is, as the coordinator that started last knows it: address and prefix, and what opens it to a host.
ALTER TABLE cluster ADD COLUMN registry TEXT;
ALTER TABLE cluster ADD COLUMN registry_opening TEXT;

CREATE TABLE registry_removals (
    repository TEXT PRIMARY KEY,
    digest     TEXT,
    attempts   BIGINT NOT NULL DEFAULT 0,
    next_at    BIGINT NOT NULL
);
CREATE INDEX registry_removals_due_idx ON registry_removals (next_at);
