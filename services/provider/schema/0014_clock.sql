-- When a bucket was last taken from, in nanoseconds: what is later than now was, before the clock was set back.
ALTER TABLE burst_state ADD COLUMN since_ns INTEGER NOT NULL DEFAULT 0;
