-- What was registered, changed, disabled or deleted at run time, over the registry file. `definition` is JSON in the form of the file's
-- table; empty: the file's own stands, and only the flags count.
CREATE TABLE registry_provider (
    provider_id TEXT NOT NULL PRIMARY KEY,
    definition TEXT NOT NULL,
    enabled INTEGER NOT NULL,
    deleted INTEGER NOT NULL,
    updated_us INTEGER NOT NULL
);

CREATE TABLE registry_model (
    provider_id TEXT NOT NULL,
    model TEXT NOT NULL,
    definition TEXT NOT NULL,
    enabled INTEGER NOT NULL,
    deleted INTEGER NOT NULL,
    updated_us INTEGER NOT NULL,
    PRIMARY KEY (provider_id, model)
);

-- Keys of providers, sealed: box is nonce + ciphertext + tag, vault_key_id names the key that it was sealed under.
CREATE TABLE provider_key (
    key_id TEXT NOT NULL PRIMARY KEY,
    provider_id TEXT NOT NULL,
    display_name TEXT NOT NULL,
    hint TEXT NOT NULL,
    weight INTEGER NOT NULL,
    vault_key_id TEXT NOT NULL,
    box BLOB NOT NULL,
    created_us INTEGER NOT NULL,
    ends_us INTEGER,
    last_used_us INTEGER
);
CREATE INDEX provider_key_by_provider ON provider_key (provider_id, key_id);

-- Another text after every change of the tables above: a process reads it to see whether what it knows is still so.
CREATE TABLE registry_stamp (
    one INTEGER NOT NULL PRIMARY KEY,
    stamp TEXT NOT NULL
);
