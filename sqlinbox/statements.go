package sqlinbox

import (
	"strconv"
	"strings"

	"github.com/redrive-dev/redrive/internal/sqltable"
)

// The states of a row. A released row stays until it is purged, with an empty
// fingerprint, because its token must not be given out again.
const (
	rowFree    = 0
	rowClaimed = 1
	rowDone    = 2
)

// statements are the texts for one dialect and table.
type statements struct {
	schema                                              []string
	claim, look, complete, release, extend, purge, lock string
}

// A row can be claimed when its until_ms is over: the end of the lease, or of the
// time that a handled key is kept; 0 for a released one. purge_ms is when it may be
// deleted. All times are Unix milliseconds.
const (
	createTable = `CREATE TABLE IF NOT EXISTS {table} (
  inbox_group TEXT NOT NULL,
  inbox_key TEXT NOT NULL,
  fingerprint TEXT NOT NULL,
  state SMALLINT NOT NULL,
  token BIGINT NOT NULL,
  until_ms BIGINT NOT NULL,
  purge_ms BIGINT NOT NULL,
  PRIMARY KEY (inbox_group, inbox_key)
)`
	createIndex = `CREATE INDEX IF NOT EXISTS {index}_purge ON {table} (purge_ms)`

	// The conflict clause decides and writes in one step: no row comes back when
	// the claim is refused.
	claimRow = `INSERT INTO {table} AS cur (inbox_group, inbox_key, fingerprint, state, token, until_ms, purge_ms)
VALUES ($1, $2, $3, {claimed}, 1, $4, $5)
ON CONFLICT (inbox_group, inbox_key) DO UPDATE
SET fingerprint = excluded.fingerprint, state = {claimed}, token = cur.token + 1, until_ms = excluded.until_ms, purge_ms = excluded.purge_ms
WHERE cur.until_ms <= $6
RETURNING token`

	lookAtRow = `SELECT fingerprint, state, until_ms FROM {table} WHERE inbox_group = $1 AND inbox_key = $2`

	// Completing again changes nothing, not even how long the key is kept.
	completeRow = `UPDATE {table}
SET state = {done},
  until_ms = CASE WHEN state = {claimed} THEN $4 ELSE until_ms END,
  purge_ms = CASE WHEN state = {claimed} THEN $4 ELSE purge_ms END
WHERE inbox_group = $1 AND inbox_key = $2 AND token = $3
  AND (state = {claimed} OR (state = {done} AND until_ms > $5))`

	releaseRow = `UPDATE {table} SET state = {free}, fingerprint = '', until_ms = 0, purge_ms = $4
WHERE inbox_group = $1 AND inbox_key = $2 AND token = $3 AND state = {claimed}`

	extendRow = `UPDATE {table} SET until_ms = $4, purge_ms = $5
WHERE inbox_group = $1 AND inbox_key = $2 AND token = $3 AND state = {claimed}`

	purgeRows = `DELETE FROM {table} WHERE purge_ms <= $1 AND (inbox_group, inbox_key) IN
(SELECT inbox_group, inbox_key FROM {table} WHERE purge_ms <= $1 ORDER BY purge_ms LIMIT $2)`

	lockMigration = `SELECT pg_advisory_xact_lock(8243311967)`
)

func statementsFor(c Config) statements {
	names := strings.NewReplacer("{table}", c.Table, "{index}", sqltable.Base(c.Table),
		"{free}", strconv.Itoa(rowFree), "{claimed}", strconv.Itoa(rowClaimed), "{done}", strconv.Itoa(rowDone))
	text := names.Replace
	if c.Dialect == SQLite {
		text = func(s string) string { return sqltable.Numbered(names.Replace(s)) }
	}
	s := statements{
		schema: []string{text(createTable), text(createIndex)},
		claim:  text(claimRow), look: text(lookAtRow), complete: text(completeRow),
		release: text(releaseRow), extend: text(extendRow), purge: text(purgeRows),
	}
	switch c.Dialect {
	case SQLite:
		s.schema[0] += " WITHOUT ROWID"
	case PostgreSQL:
		s.lock = lockMigration
	}
	return s
}
