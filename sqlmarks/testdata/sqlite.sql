CREATE TABLE IF NOT EXISTS redrive_marks (
  mark_key TEXT NOT NULL PRIMARY KEY,
  mark TEXT NOT NULL,
  stored_ms BIGINT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS redrive_marks_stored ON redrive_marks (stored_ms);
