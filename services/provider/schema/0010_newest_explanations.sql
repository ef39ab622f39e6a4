-- The number, by which the oldest are found, is the table's own key: an index less to write for each selection.
CREATE TABLE newest_explanation (
    number INTEGER PRIMARY KEY,
    selection_id TEXT NOT NULL UNIQUE,
    explanation BLOB NOT NULL
);
INSERT INTO newest_explanation (number, selection_id, explanation)
    SELECT number, selection_id, explanation FROM selection_explanation ORDER BY number;
DROP TABLE selection_explanation;
ALTER TABLE newest_explanation RENAME TO selection_explanation;
