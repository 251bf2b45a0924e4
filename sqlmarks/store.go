package sqlmarks

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/internal/sqltable"
)

// MaxMark is the size of the largest mark that is stored, in bytes of its JSON. A mark
// with a pending move holds an envelope, which is 8 KiB by default.
const MaxMark = 256 << 10

// Store is a [broker.MarkStore] in a table of a database. It is safe for concurrent
// use, by any number of processes.
type Store struct {
	db  *sql.DB
	cfg Config
	sql statements
}

var _ broker.MarkStore = (*Store)(nil)

// New returns a store in the database, which stays the caller's to close. It does not
// touch the database: call Migrate once before the first mark, or create the table of
// Schema by other means.
func New(db *sql.DB, cfg Config) (*Store, error) {
	cfg = cfg.WithDefaults()
	err := cfg.Validate()
	if db == nil {
		err = errors.Join(errors.New("db: nil"), err)
	}
	if err != nil {
		return nil, fmt.Errorf("mark store configuration: %w", err)
	}
	return &Store{db: db, cfg: cfg, sql: statementsFor(cfg)}, nil
}

// Schema returns the statements that create the table, each ended by a semicolon, for
// those who run migrations themselves. They can be run again.
func (s *Store) Schema() string { return strings.Join(s.sql.schema, ";\n") + ";\n" }

// Migrate creates the table if it does not exist. It can be called by several processes
// at once.
func (s *Store) Migrate(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	if err := sqltable.Create(ctx, s.db, s.sql.lock, s.sql.schema); err != nil {
		return fmt.Errorf("create mark table %s: %w", s.cfg.Table, err)
	}
	return nil
}

// rowKey is a digest of the id: ids are of any length and any bytes, which a column of
// text does not take on every database.
func rowKey(id string) string {
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:])
}

// LoadMark implements [broker.MarkStore].
func (s *Store) LoadMark(ctx context.Context, id string) (broker.Mark, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	var raw string
	err := s.db.QueryRowContext(ctx, s.sql.load, rowKey(id)).Scan(&raw)
	if errors.Is(err, sql.ErrNoRows) {
		return broker.Mark{}, nil
	}
	if err != nil {
		return broker.Mark{}, fmt.Errorf("load mark of %q from %s: %w", id, s.cfg.Table, err)
	}
	var mark broker.Mark
	if json.Unmarshal([]byte(raw), &mark) != nil {
		return broker.Mark{}, nil // A row that cannot be read explains nothing.
	}
	return mark, nil
}

// StoreMark implements [broker.MarkStore]. A mark over MaxMark is refused.
func (s *Store) StoreMark(ctx context.Context, id string, mark broker.Mark) error {
	raw, err := json.Marshal(mark)
	if err == nil && len(raw) > MaxMark {
		err = &broker.TooLargeError{Size: len(raw), Limit: MaxMark}
	}
	if err != nil {
		return fmt.Errorf("store mark of %q: %w", id, err)
	}
	return s.write(ctx, "store", id, s.sql.store, rowKey(id), string(raw), s.cfg.Now().UnixMilli())
}

// DeleteMark implements [broker.MarkStore].
func (s *Store) DeleteMark(ctx context.Context, id string) error {
	return s.write(ctx, "delete", id, s.sql.remove, rowKey(id))
}

func (s *Store) write(ctx context.Context, what, id, statement string, args ...any) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	if _, err := s.db.ExecContext(ctx, statement, args...); err != nil {
		return fmt.Errorf("%s mark of %q in %s: %w", what, id, s.cfg.Table, err)
	}
	return nil
}

// Purge deletes at most limit marks that are older than the retention, oldest first,
// and returns how many. Fewer than limit means that none are left for now. The limit
// must be positive.
func (s *Store) Purge(ctx context.Context, limit int) (int64, error) {
	if limit <= 0 {
		return 0, fmt.Errorf("purge marks %s: limit %d, want more than 0", s.cfg.Table, limit)
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	result, err := s.db.ExecContext(ctx, s.sql.purge, s.cfg.Now().Add(-s.cfg.Retention).UnixMilli(), limit)
	if err != nil {
		return 0, fmt.Errorf("purge marks %s: %w", s.cfg.Table, err)
	}
	return result.RowsAffected()
}
