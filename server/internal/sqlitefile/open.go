package sqlitefile

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

// connections bounds the pool. One connection writes at a time; the others let a
// statement wait for it, and be cancelled, in SQLite and not in the pool.
const connections = 4

// Open opens a database in a directory, which must exist, and creates it if it is
// not there, readable by its owner alone. A statement waits for others for at most
// the time given.
//
// What commits is durable: the file is in write-ahead mode and is synchronised on
// each commit. Open refuses a file system on which that cannot be had.
func Open(ctx context.Context, dir, name string, wait time.Duration) (*sql.DB, error) {
	file, err := filepath.Abs(filepath.Join(dir, name))
	if err != nil {
		return nil, err
	}
	if err := create(file); err != nil {
		return nil, fmt.Errorf("create %s: %w", file, err)
	}
	db, err := sql.Open("sqlite", dsn(file, wait))
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", file, err)
	}
	db.SetMaxOpenConns(connections)
	if err := verify(ctx, db); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", file, err), db.Close())
	}
	return db, nil
}

// dsn takes the locks of a transaction at its beginning: one that read first and
// wrote later would be refused while another one writes.
func dsn(file string, wait time.Duration) string {
	query := url.Values{
		"_txlock": {"immediate"},
		"_pragma": {fmt.Sprintf("busy_timeout(%d)", wait.Milliseconds()), "journal_mode(WAL)", "synchronous(FULL)"},
	}
	return (&url.URL{Scheme: "file", Path: filepath.ToSlash(file), RawQuery: query.Encode()}).String()
}

// create makes the file with its permissions, and makes its name durable: a
// power failure must not take the inbox away from the letters beside it.
func create(file string) error {
	f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE, 0o600) //nolint:gosec // the operator chooses the directory
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(file))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// verify reads back what SQLite made of the settings: it ignores those that it
// cannot follow.
func verify(ctx context.Context, db *sql.DB) error {
	var problems []error
	for _, setting := range []struct{ pragma, want, meaning string }{
		{"journal_mode", "wal", "the file system must support shared memory; network file systems do not"},
		{"synchronous", "2", "a commit would not be durable"},
	} {
		var got string
		if err := db.QueryRowContext(ctx, "PRAGMA "+setting.pragma).Scan(&got); err != nil {
			problems = append(problems, fmt.Errorf("read %s: %w", setting.pragma, err))
		} else if !strings.EqualFold(got, setting.want) {
			problems = append(problems, fmt.Errorf("%s is %q, want %q: %s", setting.pragma, got, setting.want, setting.meaning))
		}
	}
	return errors.Join(problems...)
}
