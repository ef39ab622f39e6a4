-- When a message was put off, and when a pause began: what is later than now is over, for the clock was set back.
ALTER TABLE slack_messages ADD COLUMN since_us INTEGER NOT NULL DEFAULT 0;
ALTER TABLE pauses ADD COLUMN since_us INTEGER NOT NULL DEFAULT 0;
