package inbox_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/brokertest"
	"github.com/redrive-dev/redrive/idempotency/idempotencytest"
	"github.com/redrive-dev/redrive/sqlmarks"
)

// marks makes a store of marks in a table of its own, which is dropped at the end.
func marks(t *testing.T, db *sql.DB, dialect sqlmarks.Dialect, now func() time.Time) *sqlmarks.Store {
	t.Helper()
	table := fmt.Sprintf("marks_%016x", rand.Uint64())
	s, err := sqlmarks.New(db, sqlmarks.Config{Dialect: dialect, Table: table, Now: now, Timeout: 30 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Migrate(t.Context()), s.Migrate(t.Context())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := db.ExecContext(context.WithoutCancel(t.Context()), "DROP TABLE "+table); err != nil {
			t.Error(err)
		}
	})
	return s
}

// databases runs a test on each database that marks are kept in.
func databases(t *testing.T, run func(t *testing.T, db *sql.DB, dialect sqlmarks.Dialect)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		run(t, open(t, t.TempDir(), time.Now).DB(), sqlmarks.SQLite)
	})
	t.Run("postgresql", func(t *testing.T) {
		t.Parallel()
		run(t, postgres(t), sqlmarks.PostgreSQL)
	})
}

func TestMarksKeepTheContract(t *testing.T) {
	t.Parallel()
	databases(t, func(t *testing.T, db *sql.DB, dialect sqlmarks.Dialect) {
		t.Helper()
		stores := map[*testing.T]*sqlmarks.Store{}
		brokertest.RunMarkStore(t, func(t *testing.T) broker.MarkStore {
			t.Helper()
			if stores[t] == nil {
				stores[t] = marks(t, db, dialect, time.Now)
			}
			return stores[t]
		})
	})
}

// Marks that nobody asks for again are forgotten after 30 days, and a mark that is
// written again is kept from then on.
func TestPurgeOfMarks(t *testing.T) {
	t.Parallel()
	databases(t, func(t *testing.T, db *sql.DB, dialect sqlmarks.Dialect) {
		t.Helper()
		clock := idempotencytest.NewClock()
		s := marks(t, db, dialect, clock.Now)
		purge := func(limit int, want int64) {
			t.Helper()
			if got, err := s.Purge(t.Context(), limit); err != nil || got != want {
				t.Fatalf("purged %d, %v, want %d", got, err, want)
			}
		}
		put := func(ids ...string) {
			t.Helper()
			for _, id := range ids {
				if err := s.StoreMark(t.Context(), id, broker.Mark{Explained: 1}); err != nil {
					t.Fatal(err)
				}
			}
		}
		const day = 24 * time.Hour
		put("a", "b", "c", "kept")
		clock.Advance(day)
		put("kept")
		clock.Advance(29*day - time.Millisecond)
		purge(10, 0)
		clock.Advance(time.Millisecond)
		purge(2, 2)
		purge(2, 1)
		if m, err := s.LoadMark(t.Context(), "kept"); err != nil || m.Explained != 1 {
			t.Errorf("the mark that was written again: %+v, %v", m, err)
		}
		clock.Advance(day)
		purge(2, 1)
	})
}
