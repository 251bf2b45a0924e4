CREATE TABLE IF NOT EXISTS app.marks (
  mark_key TEXT NOT NULL PRIMARY KEY,
  mark TEXT NOT NULL,
  stored_ms BIGINT NOT NULL
);
CREATE INDEX IF NOT EXISTS marks_stored ON app.marks (stored_ms);
