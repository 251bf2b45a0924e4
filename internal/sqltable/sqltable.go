// Package sqltable is what the packages that keep a table in a user's database
// share: which names are safe in a statement, and how a table is created by several
// processes at once.
package sqltable

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
)

// maxName leaves room for the name of an index (63 bytes on PostgreSQL).
const maxName = 48

// Valid reports whether a name can stand in a statement without quotes: at most 48
// letters, digits and underscores, not beginning with a digit. With schema, another
// such name and a dot may stand before it.
func Valid(name string, schema bool) bool {
	dots, part := 0, 0
	for i := range len(name) {
		switch c := name[i]; {
		case c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z', part > 0 && '0' <= c && c <= '9':
			part++
		case c == '.' && part > 0 && dots == 0 && schema:
			dots, part = 1, 0
		default:
			return false
		}
		if part > maxName {
			return false
		}
	}
	return part > 0
}

// Base returns the name without its schema.
func Base(name string) string {
	return name[strings.LastIndexByte(name, '.')+1:]
}

// Numbered turns the parameters $1, $2 … of PostgreSQL into ?1, ?2 … for SQLite,
// which takes $1 for the name of a parameter and ?1 for its number.
func Numbered(statement string) string { return strings.ReplaceAll(statement, "$", "?") }

// Create runs the statements in one transaction, after the statement lock unless it
// is empty: CREATE … IF NOT EXISTS fails on PostgreSQL when two processes run it at
// once.
func Create(ctx context.Context, db *sql.DB, lock string, statements []string) error {
	return InTx(ctx, db, func(tx *sql.Tx) error {
		if lock != "" {
			if _, err := tx.ExecContext(ctx, lock); err != nil {
				return err
			}
		}
		for _, statement := range statements {
			if _, err := tx.ExecContext(ctx, statement); err != nil {
				return err
			}
		}
		return nil
	})
}

// InTx commits what fn did if it returns nil, and rolls it back otherwise.
func InTx(ctx context.Context, db *sql.DB, fn func(tx *sql.Tx) error) (err error) {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	committed := false
	defer func() {
		if committed {
			return
		}
		// The context may have ended and rolled it back already.
		if e := tx.Rollback(); e != nil && !errors.Is(e, sql.ErrTxDone) {
			err = errors.Join(err, fmt.Errorf("roll back: %w", e))
		}
	}()
	if err := fn(tx); err != nil {
		return err
	}
	committed = true
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}
