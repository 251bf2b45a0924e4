package inbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/redrive-dev/redrive/sqlinbox"
)

// FileName is the name of the file in the data directory.
const FileName = "inbox.db"

// connections bounds the pool. One connection writes at a time; the others let a
// claim wait for it, and be cancelled, in SQLite and not in the pool.
const connections = 4

// Inbox is the server's inbox. It is safe for concurrent use.
type Inbox struct {
	*sqlinbox.Inbox
	db *sql.DB
}

// Open opens the inbox in the data directory, which must exist, and creates it if
// it is not there, readable by its owner alone. The dialect of the configuration
// is set here.
//
// What a call returns from is durable: the file is in write-ahead mode and is
// synchronised on each commit. Open refuses a file system on which that cannot be
// had.
func Open(ctx context.Context, dir string, cfg sqlinbox.Config) (*Inbox, error) {
	cfg.Dialect = sqlinbox.SQLite
	file, err := filepath.Abs(filepath.Join(dir, FileName))
	if err != nil {
		return nil, fmt.Errorf("open inbox: %w", err)
	}
	if err := create(file); err != nil {
		return nil, fmt.Errorf("create inbox: %w", err)
	}
	db, err := sql.Open("sqlite", dsn(file, cfg))
	if err != nil {
		return nil, fmt.Errorf("open inbox %s: %w", file, err)
	}
	db.SetMaxOpenConns(connections)
	inbox, err := prepare(ctx, db, cfg)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open inbox %s: %w", file, err), db.Close())
	}
	return inbox, nil
}

// dsn takes the locks of a transaction at its beginning: one that read first and
// wrote later would be refused while another one writes.
func dsn(file string, cfg sqlinbox.Config) string {
	wait := cfg.WithDefaults().Timeout.Milliseconds()
	query := url.Values{
		"_txlock": {"immediate"},
		"_pragma": {fmt.Sprintf("busy_timeout(%d)", wait), "journal_mode(WAL)", "synchronous(FULL)"},
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

func prepare(ctx context.Context, db *sql.DB, cfg sqlinbox.Config) (*Inbox, error) {
	inner, err := sqlinbox.New(db, cfg)
	if err != nil {
		return nil, err
	}
	if err := verify(ctx, db); err != nil {
		return nil, err
	}
	if err := inner.Migrate(ctx); err != nil {
		return nil, err
	}
	return &Inbox{Inbox: inner, db: db}, nil
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

// DB returns the database of the inbox, for effects that commit with it. It
// belongs to the inbox: do not close it.
func (i *Inbox) DB() *sql.DB { return i.db }

// Close closes the file. Claims that are open stay claimed until their lease
// ends.
func (i *Inbox) Close() error {
	if err := i.db.Close(); err != nil {
		return fmt.Errorf("close inbox: %w", err)
	}
	return nil
}
