package sqlmarks

import (
	"strings"

	"github.com/redrive-dev/redrive/internal/sqltable"
)

// statements are the texts for one dialect and table.
type statements struct {
	schema                           []string
	load, store, remove, purge, lock string
}

// The key is the SHA-256 of the id in hexadecimal, the mark is JSON, and stored_ms the
// time of the newest write in Unix milliseconds.
const (
	createTable = `CREATE TABLE IF NOT EXISTS {table} (
  mark_key TEXT NOT NULL PRIMARY KEY,
  mark TEXT NOT NULL,
  stored_ms BIGINT NOT NULL
)`
	createIndex = `CREATE INDEX IF NOT EXISTS {index}_stored ON {table} (stored_ms)`

	loadRow  = `SELECT mark FROM {table} WHERE mark_key = $1`
	storeRow = `INSERT INTO {table} (mark_key, mark, stored_ms) VALUES ($1, $2, $3)
ON CONFLICT (mark_key) DO UPDATE SET mark = excluded.mark, stored_ms = excluded.stored_ms`
	removeRow = `DELETE FROM {table} WHERE mark_key = $1`
	purgeRows = `DELETE FROM {table} WHERE stored_ms <= $1 AND mark_key IN
(SELECT mark_key FROM {table} WHERE stored_ms <= $1 ORDER BY stored_ms LIMIT $2)`

	lockMigration = `SELECT pg_advisory_xact_lock(8243311968)`
)

func statementsFor(c Config) statements {
	names := strings.NewReplacer("{table}", c.Table, "{index}", sqltable.Base(c.Table))
	text := names.Replace
	if c.Dialect == SQLite {
		text = func(s string) string { return sqltable.Numbered(names.Replace(s)) }
	}
	s := statements{
		schema: []string{text(createTable), text(createIndex)},
		load:   text(loadRow), store: text(storeRow), remove: text(removeRow), purge: text(purgeRows),
	}
	switch c.Dialect {
	case SQLite:
		s.schema[0] += " WITHOUT ROWID"
	case PostgreSQL:
		s.lock = lockMigration
	}
	return s
}
