-- The wait that a member asked for, which may be longer than any backoff; 0 where a retry follows the backoff.
ALTER TABLE retries ADD COLUMN asked_us INTEGER NOT NULL DEFAULT 0;
