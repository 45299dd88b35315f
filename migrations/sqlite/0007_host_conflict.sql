-- Which machines came with a host's identity, the newest last (a document), and why the host is in conflict if it is.
-- A host in conflict is an unreachable one with a reason: the states that are stored stay as they are.
ALTER TABLE hosts ADD COLUMN arrivals TEXT;
ALTER TABLE hosts ADD COLUMN conflict TEXT;
