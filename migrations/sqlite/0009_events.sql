-- How far events have been forgotten: a reader that asks for what came before is told so.
ALTER TABLE cluster ADD COLUMN events_forgotten INTEGER NOT NULL DEFAULT 0;
