package worker

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/sqlmarks"
)

// openSQLite opens a database whose commits are durable when they return.
func openSQLite(file string) (*sql.DB, error) {
	query := url.Values{
		"_txlock": {"immediate"},
		"_pragma": {"busy_timeout(5000)", "journal_mode(WAL)", "synchronous(FULL)"},
	}
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Path: filepath.ToSlash(file), RawQuery: query.Encode()}).String())
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", file, err)
	}
	db.SetMaxOpenConns(4)
	return db, nil
}

// marked is a broker with the database of its marks.
type marked struct {
	Broker
	db *sql.DB
}

// Close implements Broker.
func (m marked) Close(ctx context.Context) error {
	return errors.Join(m.Broker.Close(ctx), m.db.Close())
}

// withMarks connects with the marks of OptionMarks.
func (c Connection) withMarks(ctx context.Context, connect func(broker.MarkStore) (Broker, error)) (Broker, error) {
	db, err := openSQLite(c.Options[OptionMarks])
	if err != nil {
		return nil, err
	}
	store, err := sqlmarks.New(db, sqlmarks.Config{Dialect: sqlmarks.SQLite})
	if err == nil {
		err = store.Migrate(ctx)
	}
	if err == nil {
		var b Broker
		if b, err = connect(store); err == nil {
			return marked{b, db}, nil
		}
	}
	return nil, errors.Join(err, db.Close())
}
