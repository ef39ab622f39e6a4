-- What the kit keeps beside each service's own tables: answers by request_id, events to tell, events that were heard.
CREATE TABLE request_answers (
    method TEXT NOT NULL,
    request_id TEXT NOT NULL,
    request_hash BLOB NOT NULL,
    response BLOB NOT NULL,
    created_us INTEGER NOT NULL,
    PRIMARY KEY (method, request_id)
);
CREATE INDEX request_answers_by_age ON request_answers (created_us);

-- a number is never given twice: a relay that deletes what it told must not meet a younger event under the same number
CREATE TABLE outbox (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    event BLOB NOT NULL
);

-- events that the bus will never take (they do not fit the contract): kept for whoever mends the defect, out of the others' way
CREATE TABLE outbox_refused (
    seq INTEGER PRIMARY KEY,
    event BLOB NOT NULL,
    refusal TEXT NOT NULL
);

CREATE TABLE inbox (
    source TEXT NOT NULL,
    event_id TEXT NOT NULL,
    handled_us INTEGER NOT NULL,
    PRIMARY KEY (source, event_id)
);
CREATE INDEX inbox_by_age ON inbox (handled_us);
