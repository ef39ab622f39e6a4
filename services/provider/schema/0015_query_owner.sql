-- Which process runs a query: what a killed one ran is given back as soon as another one sees that it is gone.
ALTER TABLE query ADD COLUMN owner TEXT NOT NULL DEFAULT '';
-- What had come of its answer when more was last set aside for it, as JSON: its usage, and what that costs. Empty: nothing is known.
ALTER TABLE query ADD COLUMN came TEXT NOT NULL DEFAULT '';
