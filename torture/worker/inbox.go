package worker

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/redrive-dev/redrive/sqlinbox"
	"github.com/redrive-dev/redrive/torture/checker"
)

// effects is the inbox of a run and the table beside it. Both are in one SQLite
// file, opened as the server opens its own inbox: a commit is durable when it
// returns, and the effect and the end of the claim are one commit.
type effects struct {
	*sqlinbox.Inbox
	db *sql.DB
}

// The table lets a message have its effect as often as somebody makes it.
const effectsTable = "CREATE TABLE IF NOT EXISTS effects (producer INTEGER NOT NULL, counter INTEGER NOT NULL)"

func openEffects(ctx context.Context, file string) (*effects, error) {
	db, err := openSQLite(file)
	if err != nil {
		return nil, fmt.Errorf("inbox: %w", err)
	}
	inbox, err := sqlinbox.New(db, sqlinbox.Config{Dialect: sqlinbox.SQLite})
	if err == nil {
		err = inbox.Migrate(ctx)
	}
	if err == nil {
		_, err = db.ExecContext(ctx, effectsTable)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("inbox: %w", err), db.Close())
	}
	return &effects{inbox, db}, nil
}

// make commits the effect of the message that is being handled.
func (e *effects) make(ctx context.Context, id checker.ID) error {
	return e.InTx(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO effects VALUES (?, ?)", id.Producer, id.Counter)
		return err
	})
}

func (e *effects) close() error { return e.db.Close() }

// ReadEffects returns the effects in an inbox file, one record each.
func ReadEffects(ctx context.Context, file string) (out []checker.Record, err error) {
	e, err := openEffects(ctx, file)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, e.close()) }()
	rows, err := e.db.QueryContext(ctx, "SELECT producer, counter FROM effects")
	if err != nil {
		return nil, fmt.Errorf("read the effects: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		r := checker.Record{Kind: checker.Effect}
		if err := rows.Scan(&r.ID.Producer, &r.ID.Counter); err != nil {
			return nil, fmt.Errorf("read the effects: %w", err)
		}
		out = append(out, r)
	}
	return out, rows.Err()
}
