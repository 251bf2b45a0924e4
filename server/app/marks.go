package app

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/server/internal/sqlitefile"
	"github.com/redrive-dev/redrive/sqlmarks"
)

// marksFile is the file in the data directory with the notes of all brokers.
const marksFile = "marks.db"

// marks keeps the notes of a broker that cannot keep them itself. The database is
// opened when it is first needed: whoever only looks or publishes makes none. It
// is safe for concurrent use.
type marks struct {
	dir string
	// prefix keeps the notes of brokers apart that share the database.
	prefix string

	mu     sync.Mutex
	db     *sql.DB
	store  *sqlmarks.Store
	closed bool
}

func newMarks(dir, broker string) *marks { return &marks{dir: dir, prefix: broker + "/"} }

// open opens the database, unless it is open.
func (m *marks) open(ctx context.Context) error {
	_, err := m.opened(ctx)
	return err
}

func (m *marks) opened(ctx context.Context) (*sqlmarks.Store, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.closed:
		return nil, errors.New("notes: closed")
	case m.store != nil:
		return m.store, nil
	}
	if err := os.MkdirAll(m.dir, 0o700); err != nil {
		return nil, fmt.Errorf("notes: make the data directory: %w", err)
	}
	c := sqlmarks.Config{Dialect: sqlmarks.SQLite}.WithDefaults()
	db, err := sqlitefile.Open(ctx, m.dir, marksFile, c.Timeout)
	if err != nil {
		return nil, fmt.Errorf("notes: %w", err)
	}
	store, err := sqlmarks.New(db, c)
	if err == nil {
		err = store.Migrate(ctx)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("notes: %w", err), db.Close())
	}
	m.db, m.store = db, store
	return store, nil
}

func (m *marks) close(context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	if m.db == nil {
		return nil
	}
	db := m.db
	m.db, m.store = nil, nil
	return db.Close()
}

// LoadMark implements broker.MarkStore.
func (m *marks) LoadMark(ctx context.Context, id string) (broker.Mark, error) {
	s, err := m.opened(ctx)
	if err != nil {
		return broker.Mark{}, err
	}
	return s.LoadMark(ctx, m.prefix+id)
}

// StoreMark implements broker.MarkStore.
func (m *marks) StoreMark(ctx context.Context, id string, mark broker.Mark) error {
	s, err := m.opened(ctx)
	if err != nil {
		return err
	}
	return s.StoreMark(ctx, m.prefix+id, mark)
}

// DeleteMark implements broker.MarkStore.
func (m *marks) DeleteMark(ctx context.Context, id string) error {
	s, err := m.opened(ctx)
	if err != nil {
		return err
	}
	return s.DeleteMark(ctx, m.prefix+id)
}

// Purge deletes notes that nobody asks for again.
func (m *marks) Purge(ctx context.Context, limit int) (int64, error) {
	s, err := m.opened(ctx)
	if err != nil {
		return 0, err
	}
	return s.Purge(ctx, limit)
}
