-- The process of the run that may write: what a killed one began holds nobody up when it is known to be gone.
ALTER TABLE repositories ADD COLUMN run_owner TEXT NOT NULL DEFAULT '';
