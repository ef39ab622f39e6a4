-- Until when a run counts as alive; 0 when none is on its way.
ALTER TABLE repositories ADD COLUMN run_until_us INTEGER NOT NULL DEFAULT 0;
