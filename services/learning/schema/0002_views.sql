-- What the reads of one card and of all learners look for.
CREATE INDEX rounds_by_card ON rounds (user_id, card_id, close_us);
CREATE INDEX students_by_update ON students (update_us, user_id);
