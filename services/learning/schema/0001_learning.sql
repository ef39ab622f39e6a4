-- Sessions, rounds, cards and mastery of the learners, and which provider served which domain.
-- Times are microseconds since the epoch, UTC. States, reasons, difficulties: numbers of the contract's enums.

CREATE TABLE sessions (
    session_id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL,
    focus_area TEXT NOT NULL,
    domain TEXT NOT NULL,
    state INTEGER NOT NULL,
    round_count INTEGER NOT NULL,
    rounds_completed INTEGER NOT NULL,
    score_sum REAL NOT NULL,
    start_us INTEGER NOT NULL,
    complete_us INTEGER
);
CREATE INDEX sessions_by_user ON sessions (user_id, state, start_us);

-- The closed rounds are the review log: replayed in order of close_us they give the cards.
CREATE TABLE rounds (
    round_id TEXT PRIMARY KEY,
    session_id TEXT NOT NULL REFERENCES sessions (session_id),
    user_id TEXT NOT NULL,
    number INTEGER NOT NULL,
    state INTEGER NOT NULL,
    card_id TEXT NOT NULL,
    domain TEXT NOT NULL,
    skill TEXT NOT NULL,
    prompt TEXT NOT NULL,
    rubric TEXT NOT NULL,
    difficulty INTEGER NOT NULL,
    reason INTEGER NOT NULL,
    expected_score REAL NOT NULL,
    score REAL,
    comment TEXT NOT NULL,
    open_us INTEGER NOT NULL,
    close_us INTEGER,
    UNIQUE (session_id, number)
);
CREATE INDEX rounds_by_user ON rounds (user_id, close_us);

-- A card keeps its exercise, so that it can be asked again after the curriculum was edited.
CREATE TABLE cards (
    user_id TEXT NOT NULL,
    card_id TEXT NOT NULL,
    domain TEXT NOT NULL,
    skill TEXT NOT NULL,
    prompt TEXT NOT NULL,
    rubric TEXT NOT NULL,
    difficulty INTEGER NOT NULL,
    memory_state INTEGER NOT NULL,
    memory_step INTEGER,
    stability REAL NOT NULL,
    memory_difficulty REAL NOT NULL,
    due_us INTEGER NOT NULL,
    last_review_us INTEGER NOT NULL,
    reviews INTEGER NOT NULL,
    lapses INTEGER NOT NULL,
    PRIMARY KEY (user_id, card_id)
);
CREATE INDEX cards_by_due ON cards (user_id, due_us, card_id);
CREATE INDEX cards_by_domain ON cards (user_id, domain);

CREATE TABLE students (
    user_id TEXT PRIMARY KEY,
    mean REAL NOT NULL,
    variance REAL NOT NULL,
    update_us INTEGER NOT NULL
);

CREATE TABLE student_skills (
    user_id TEXT NOT NULL,
    domain TEXT NOT NULL,
    skill TEXT NOT NULL,
    mean REAL NOT NULL,
    variance REAL NOT NULL,
    reviews INTEGER NOT NULL,
    update_us INTEGER NOT NULL,
    PRIMARY KEY (user_id, domain, skill)
);

-- Shared by all learners: how hard a skill turned out to be.
CREATE TABLE skill_difficulties (
    domain TEXT NOT NULL,
    skill TEXT NOT NULL,
    mean REAL NOT NULL,
    variance REAL NOT NULL,
    PRIMARY KEY (domain, skill)
);

-- user_id is '' for selections on nobody's behalf; scores are kept only with the learner whose they are.
CREATE TABLE provider_uses (
    user_id TEXT NOT NULL,
    domain TEXT NOT NULL,
    provider_id TEXT NOT NULL,
    model TEXT NOT NULL,
    selections INTEGER NOT NULL,
    feedbacks INTEGER NOT NULL,
    score_sum REAL NOT NULL,
    select_us INTEGER NOT NULL,
    PRIMARY KEY (user_id, domain, provider_id, model)
);
