-- Of which configuration an image is made, in which version.
ALTER TABLE images ADD COLUMN configuration_id BLOB CONSTRAINT images_configuration_fkey REFERENCES configurations (id);
ALTER TABLE images ADD COLUMN configuration_version INTEGER;
CREATE INDEX images_configuration_idx ON images (configuration_id) WHERE configuration_id IS NOT NULL;
