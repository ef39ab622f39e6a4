-- In how many characters a model shows a token, so that those of an answer under way can be counted; 0: not known.
ALTER TABLE estimate ADD COLUMN characters_per_token REAL NOT NULL DEFAULT 0;
