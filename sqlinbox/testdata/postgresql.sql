CREATE TABLE IF NOT EXISTS app.inbox (
  inbox_group TEXT NOT NULL,
  inbox_key TEXT NOT NULL,
  fingerprint TEXT NOT NULL,
  state SMALLINT NOT NULL,
  token BIGINT NOT NULL,
  until_ms BIGINT NOT NULL,
  purge_ms BIGINT NOT NULL,
  PRIMARY KEY (inbox_group, inbox_key)
);
CREATE INDEX IF NOT EXISTS inbox_purge ON app.inbox (purge_ms);
