-- Authorizations under way. Taken out by the callback, so a state works once.
CREATE TABLE authorizations (
    state TEXT NOT NULL PRIMARY KEY,
    user_id TEXT NOT NULL,
    provider TEXT NOT NULL,
    redirect_uri TEXT NOT NULL,
    scopes TEXT NOT NULL,
    nonce TEXT NOT NULL,
    -- the PKCE code verifier, encrypted
    verifier BLOB NOT NULL,
    key_id TEXT NOT NULL,
    expires_us INTEGER NOT NULL
);

CREATE INDEX authorizations_by_expiry ON authorizations (expires_us);

CREATE TABLE connections (
    user_id TEXT NOT NULL,
    provider TEXT NOT NULL,
    account TEXT NOT NULL,
    scopes TEXT NOT NULL,
    state TEXT NOT NULL,
    -- access and refresh token, encrypted
    tokens BLOB NOT NULL,
    key_id TEXT NOT NULL,
    refreshable INTEGER NOT NULL,
    expires_us INTEGER,
    -- grows with every change of the tokens
    version INTEGER NOT NULL,
    -- until then one process refreshes and the others wait
    lease_us INTEGER NOT NULL,
    created_us INTEGER NOT NULL,
    updated_us INTEGER NOT NULL,
    PRIMARY KEY (user_id, provider)
);

-- GitHub's answers for conditional requests. `identity` is whose token asked: private answers stay with their owner.
CREATE TABLE github_answers (
    identity TEXT NOT NULL,
    url TEXT NOT NULL,
    etag TEXT NOT NULL,
    link TEXT NOT NULL,
    body BLOB NOT NULL,
    used_us INTEGER NOT NULL,
    PRIMARY KEY (identity, url)
);

CREATE INDEX github_answers_by_use ON github_answers (used_us);

-- Repositories as they were last read, by the user they were read for ('' for none); owner and repo in lower case.
CREATE TABLE github_repositories (
    user_id TEXT NOT NULL,
    owner_key TEXT NOT NULL,
    repo_key TEXT NOT NULL,
    -- hash of everything but the time of reading
    content_hash BLOB NOT NULL,
    summary BLOB NOT NULL,
    repository BLOB NOT NULL,
    synced_us INTEGER NOT NULL,
    PRIMARY KEY (user_id, owner_key, repo_key)
);

-- Until when another system wants to be left alone by an identity.
CREATE TABLE pauses (
    remote TEXT NOT NULL,
    identity TEXT NOT NULL,
    until_us INTEGER NOT NULL,
    PRIMARY KEY (remote, identity)
);

CREATE TABLE slack_messages (
    message_id TEXT NOT NULL PRIMARY KEY,
    state TEXT NOT NULL,
    -- a tooloo.integration.v1.SlackMessage
    message BLOB NOT NULL,
    -- the event that caused it, when there is one: no event becomes two messages
    cause_event_id TEXT UNIQUE,
    correlation_id TEXT NOT NULL,
    traceparent TEXT NOT NULL,
    next_us INTEGER NOT NULL,
    created_us INTEGER NOT NULL
);

CREATE INDEX slack_messages_due ON slack_messages (state, next_us);
