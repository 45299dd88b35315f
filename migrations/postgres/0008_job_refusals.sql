-- Attempts that no agent took. They do not count as tries, but each keeps its number: a late report of one that was
-- refused is not taken for a report of the next.
ALTER TABLE jobs ADD COLUMN refusals BIGINT NOT NULL DEFAULT 0;
