-- What the context service keeps. A row of files is one content of one path, seen by the generations in [born, died); an index
-- shows the generation that its repository names, so a run writes the next one beside it and publishes it by one update.

CREATE TABLE context_ids (
    name TEXT PRIMARY KEY,
    next_id INTEGER NOT NULL
);

INSERT INTO context_ids (name, next_id) VALUES ('index', 1), ('file', 1);

CREATE TABLE repositories (
    repo_id TEXT PRIMARY KEY,
    -- rows of an index hang on this number, so that a deleted one's rows never come back under the same repo_id
    index_id INTEGER NOT NULL UNIQUE,
    root TEXT NOT NULL,
    -- the generation that is shown; 0 before the first run has ended
    generation INTEGER NOT NULL,
    -- the generation that the newest run writes
    building INTEGER NOT NULL,
    -- only the newest run may write: it alone knows this id
    run_id TEXT NOT NULL,
    files INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    lines INTEGER NOT NULL,
    symbols INTEGER NOT NULL,
    imports INTEGER NOT NULL,
    resolved_imports INTEGER NOT NULL,
    -- JSON: [[reason, count, [example paths]], ...]
    skipped TEXT NOT NULL,
    commit_id TEXT NOT NULL,
    index_us INTEGER NOT NULL,
    check_us INTEGER NOT NULL,
    duration_us INTEGER NOT NULL,
    -- what was last told by context.stale; empty when nothing was since the last run
    stale_told TEXT NOT NULL
);

CREATE TABLE files (
    file_id INTEGER PRIMARY KEY,
    index_id INTEGER NOT NULL,
    path TEXT NOT NULL,
    search_path TEXT NOT NULL,
    depth INTEGER NOT NULL,
    language TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    lines INTEGER NOT NULL,
    content_hash TEXT NOT NULL,
    mtime_ns INTEGER NOT NULL,
    ctime_ns INTEGER NOT NULL,
    -- when it was read: times of a file that are not clearly older than this prove nothing
    read_us INTEGER NOT NULL,
    state INTEGER NOT NULL,
    symbols INTEGER NOT NULL,
    imports INTEGER NOT NULL,
    born INTEGER NOT NULL,
    died INTEGER NOT NULL,
    UNIQUE (index_id, path, born)
);

CREATE INDEX files_by_died ON files (index_id, died);
CREATE INDEX files_by_depth ON files (index_id, depth, path);

CREATE TABLE symbols (
    index_id INTEGER NOT NULL,
    file_id INTEGER NOT NULL,
    place INTEGER NOT NULL,
    name TEXT NOT NULL,
    search_name TEXT NOT NULL,
    kind INTEGER NOT NULL,
    start_line INTEGER NOT NULL,
    end_line INTEGER NOT NULL,
    parent TEXT NOT NULL,
    PRIMARY KEY (file_id, place)
);

CREATE INDEX symbols_by_name ON symbols (index_id, search_name);

CREATE TABLE imports (
    index_id INTEGER NOT NULL,
    file_id INTEGER NOT NULL,
    place INTEGER NOT NULL,
    module TEXT NOT NULL,
    name TEXT NOT NULL,
    line INTEGER NOT NULL,
    PRIMARY KEY (index_id, file_id, place)
);

-- Where imports lead. Apart from imports, because a file that comes or goes changes where the imports of unchanged files lead.
CREATE TABLE targets (
    index_id INTEGER NOT NULL,
    file_id INTEGER NOT NULL,
    place INTEGER NOT NULL,
    target TEXT NOT NULL,
    born INTEGER NOT NULL,
    died INTEGER NOT NULL,
    PRIMARY KEY (index_id, file_id, place, born)
);

CREATE INDEX targets_by_target ON targets (index_id, target);
CREATE INDEX targets_by_died ON targets (index_id, died);

CREATE TABLE folders (
    index_id INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    path TEXT NOT NULL,
    depth INTEGER NOT NULL,
    files INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    lines INTEGER NOT NULL,
    PRIMARY KEY (index_id, generation, depth, path)
);

CREATE TABLE central_files (
    index_id INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    place INTEGER NOT NULL,
    path TEXT NOT NULL,
    score REAL NOT NULL,
    imported_by INTEGER NOT NULL,
    PRIMARY KEY (index_id, generation, place)
);
