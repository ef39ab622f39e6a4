-- Until when a waiting message is one process's to send; 0 when nobody sends it.
ALTER TABLE slack_messages ADD COLUMN lease_us INTEGER NOT NULL DEFAULT 0;

-- Calls that are sending a message now, in whichever process: a repeat of one waits for its answer until this lease ends.
CREATE TABLE slack_calls (
    request_id TEXT NOT NULL PRIMARY KEY,
    lease_us INTEGER NOT NULL
);
