-- How far a host's clock was from ours at its last heartbeat, and which of its faults are known since when (a document of
-- names and microseconds): each is told once when it begins and once when it ends.
ALTER TABLE hosts ADD COLUMN clock_offset_ms INTEGER;
ALTER TABLE hosts ADD COLUMN faults TEXT NOT NULL DEFAULT '{}';
