package inbox_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/redrive-dev/redrive/sqlinbox"
)

// ledger is an inbox on PostgreSQL with the table of effects beside it, in which
// nothing keeps an effect from standing twice.
type ledger struct {
	*sqlinbox.Inbox
	db             *sql.DB
	table, effects string
}

// openLedger takes the clock of one life of the consumer, so that the leases of
// those before it have ended.
func openLedger(db *sql.DB, table string, round int) (ledger, error) {
	i, err := sqlinbox.New(db, sqlinbox.Config{
		Dialect: sqlinbox.PostgreSQL, Table: table, Now: roundClock(round), Retention: 365 * 24 * time.Hour, Timeout: 30 * time.Second,
	})
	return ledger{Inbox: i, db: db, table: table, effects: table + "_effects"}, err
}

func (l ledger) insert(ctx context.Context, name string) func(*sql.Tx) error {
	return func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO "+l.effects+" VALUES ($1)", name)
		return err
	}
}

// newLedger makes the tables.
func newLedger(t *testing.T, db *sql.DB) ledger {
	t.Helper()
	l := mustOpenLedger(t, db, fmt.Sprintf("inbox_%016x", rand.Uint64()), 0)
	_, err := db.ExecContext(t.Context(), "CREATE TABLE "+l.effects+" (name TEXT NOT NULL)")
	if err := errors.Join(err, l.Migrate(t.Context())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := db.ExecContext(context.WithoutCancel(t.Context()), "DROP TABLE "+l.table+", "+l.effects); err != nil {
			t.Error(err)
		}
	})
	return l
}

func mustOpenLedger(t *testing.T, db *sql.DB, table string, round int) ledger {
	t.Helper()
	l, err := openLedger(db, table, round)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// read counts how often each message took effect.
func (l ledger) read(t *testing.T) map[string]int {
	t.Helper()
	rows, err := l.db.QueryContext(t.Context(), "SELECT name, count(*) FROM "+l.effects+" GROUP BY name")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close() //nolint:errcheck // read only
	found := map[string]int{}
	for rows.Next() {
		var name string
		var n int
		if err := rows.Scan(&name, &n); err != nil {
			t.Fatal(err)
		}
		found[name] = n
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return found
}

// finish handles what is left, and checks that each message took effect once and
// that none is claimed.
func (l ledger) finish(t *testing.T) {
	t.Helper()
	before := len(l.read(t))
	if before == 0 || before == messages {
		t.Errorf("%d of %d messages were handled before the last life: the kills missed the work", before, messages)
	}
	for n := range messages {
		if err := handle(t.Context(), l.Inbox, l.insert, io.Discard, fmt.Sprint("message ", n)); err != nil {
			t.Fatal(err)
		}
	}
	found := l.read(t)
	for n := range messages {
		if key := fmt.Sprint("message ", n); found[key] != 1 {
			t.Errorf("%s took effect %d times", key, found[key])
		}
	}
	var claimed int
	if err := l.db.QueryRowContext(t.Context(), "SELECT count(*) FROM "+l.table+" WHERE state = 1").Scan(&claimed); err != nil || claimed > 0 {
		t.Errorf("%d keys are claimed for ever (%v)", claimed, err)
	}
	t.Logf("%d messages took effect under the kills, the others after them", before)
}

// consumePostgres is the child on PostgreSQL.
func consumePostgres(url, table, roundText string) error {
	round, err := strconv.Atoi(roundText)
	if err != nil {
		return err
	}
	db, err := sql.Open("pgx", url)
	if err != nil {
		return err
	}
	l, err := openLedger(db, table, round)
	if err != nil {
		return err
	}
	problem := everyMessage(round, func(key string) error {
		return handle(context.Background(), l.Inbox, l.insert, os.Stdout, key)
	})
	return errors.Join(problem, db.Close())
}

// TestPostgreSQLKilledConsumer kills the consumer at random points and starts it
// again, while the server may still be at what the dead one had sent. Afterwards
// each message has taken effect once.
func TestPostgreSQLKilledConsumer(t *testing.T) {
	t.Parallel()
	url := postgresURL(t)
	db := connect(t, url)
	l := newLedger(t, db)
	rng := rand.New(rand.NewPCG(7, 8))
	for round := range kills {
		if !runAndKill(t, round, 1+rng.IntN(30), childURL+"="+url, childTable+"="+l.table) {
			t.Fatalf("the consumer was done before kill %d: there are too few messages", round)
		}
	}
	mustOpenLedger(t, db, l.table, kills).finish(t)
}
