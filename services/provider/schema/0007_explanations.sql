-- Why the newest selections chose what they chose (JSON, made by services/provider/explanation.py, packed by zlib); `number` counts
-- up, so that the oldest are found without a look at the others.
CREATE TABLE selection_explanation (
    selection_id TEXT NOT NULL PRIMARY KEY,
    number INTEGER NOT NULL,
    explanation BLOB NOT NULL
);
CREATE INDEX selection_explanation_by_number ON selection_explanation (number);
CREATE INDEX selection_by_user ON selection (user_id, selection_id);
CREATE INDEX selection_by_provider ON selection (provider_id, selection_id);
