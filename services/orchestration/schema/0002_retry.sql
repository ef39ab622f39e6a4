-- The run that a run retries; '' for one that was started otherwise.
ALTER TABLE runs ADD COLUMN retry_of TEXT NOT NULL DEFAULT '';
