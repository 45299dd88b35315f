-- Which versions of templates and configurations something is of, so that the others can be forgotten.
CREATE INDEX configuration_versions_template_idx ON configuration_versions (template_id, template_version);
DROP INDEX images_configuration_idx;
CREATE INDEX images_configuration_idx ON images (configuration_id, configuration_version) WHERE configuration_id IS NOT NULL;
