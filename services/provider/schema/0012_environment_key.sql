-- By what a provider's key of the environment is known again at the next start: a hash under the vault's key, which gives nothing away.
CREATE TABLE environment_key (
    provider_id TEXT NOT NULL PRIMARY KEY,
    print BLOB NOT NULL
);
