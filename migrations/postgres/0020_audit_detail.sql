-- What was done, in words, where its name does not say it all: what a container is given of its host.
ALTER TABLE audit ADD COLUMN detail TEXT;
