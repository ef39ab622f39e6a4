-- Calls on their way are the queries that run. Each counts for as long as what is set aside for it stands: one whose process died is
-- not counted for ever.
ALTER TABLE query ADD COLUMN until_us INTEGER NOT NULL DEFAULT 0;
DROP INDEX query_running;
CREATE INDEX query_running ON query (provider_id, model, until_us) WHERE state = 1;
DROP TABLE in_flight;
