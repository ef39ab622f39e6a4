-- Until when a waiting message is one process's to send; 0 when nobody sends it.
ALTER TABLE slack_messages ADD COLUMN lease_us INTEGER NOT NULL DEFAULT 0;

-- Calls with a request_id that ask another system now, in whichever process: a repeat waits for the answer until this lease ends.
CREATE TABLE calls_under_way (
    name TEXT NOT NULL PRIMARY KEY,
    lease_us INTEGER NOT NULL
);
