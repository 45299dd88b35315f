-- Which state of what its user may change a thing is in: each such change makes it larger, so that who changes or deletes
-- it can say from which state he goes (If-Match). What agents report leaves it as it is.
ALTER TABLE users ADD COLUMN revision BIGINT NOT NULL DEFAULT 1;
ALTER TABLE hosts ADD COLUMN revision BIGINT NOT NULL DEFAULT 1;
ALTER TABLE images ADD COLUMN revision BIGINT NOT NULL DEFAULT 1;
ALTER TABLE containers ADD COLUMN revision BIGINT NOT NULL DEFAULT 1;
ALTER TABLE webhooks ADD COLUMN revision BIGINT NOT NULL DEFAULT 1;
