package inbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/redrive-dev/redrive/server/internal/sqlitefile"
	"github.com/redrive-dev/redrive/sqlinbox"
)

// FileName is the name of the file in the data directory.
const FileName = "inbox.db"

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
	db, err := sqlitefile.Open(ctx, dir, FileName, cfg.WithDefaults().Timeout)
	if err != nil {
		return nil, fmt.Errorf("inbox: %w", err)
	}
	inner, err := sqlinbox.New(db, cfg)
	if err == nil {
		err = inner.Migrate(ctx)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open inbox: %w", err), db.Close())
	}
	return &Inbox{Inbox: inner, db: db}, nil
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
