-- Calls on their way are the queries that run. Each counts for as long as what is set aside for it stands: one whose process died is
-- not counted for ever.
ALTER TABLE query ADD COLUMN until_us INTEGER NOT NULL DEFAULT 0;
DROP INDEX query_running;
CREATE INDEX query_running ON query (state, provider_id, model, until_us) WHERE state = 1;
DROP TABLE in_flight;
-- most queries have no request id, and need no place in its index
DROP INDEX query_by_request;
CREATE UNIQUE INDEX query_by_request ON query (request_id) WHERE request_id IS NOT NULL;
