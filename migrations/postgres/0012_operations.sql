-- Containers that their users stop, how healthy they are, and what they are being changed to.
ALTER TABLE containers DROP CONSTRAINT containers_desired_check;
ALTER TABLE containers ADD CONSTRAINT containers_desired_check CHECK (desired IN ('running', 'stopped', 'removed'));
ALTER TABLE containers ADD COLUMN observed_health TEXT
    CONSTRAINT containers_health_check CHECK (observed_health IN ('starting', 'healthy', 'unhealthy'));
-- The image it is being changed to: kept until that has happened or failed.
ALTER TABLE containers ADD COLUMN next_image_id UUID CONSTRAINT containers_next_image_fkey REFERENCES images (id);
CREATE INDEX containers_next_image_idx ON containers (next_image_id) WHERE next_image_id IS NOT NULL;
