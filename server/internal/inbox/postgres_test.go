package inbox_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"

	"github.com/redrive-dev/redrive/idempotency"
	"github.com/redrive-dev/redrive/idempotency/idempotencytest"
	"github.com/redrive-dev/redrive/sqlinbox"
)

// postgresURL says where the server of REDRIVE_POSTGRES_URL is, or starts one.
func postgresURL(t *testing.T) string {
	t.Helper()
	if url := os.Getenv("REDRIVE_POSTGRES_URL"); url != "" {
		return url
	}
	return startPostgres(t)
}

// startPostgres starts the tests' own server, or the one that the environment
// describes. A test that has none is skipped, or fails where servers are required.
func startPostgres(t *testing.T, env ...string) (url string) {
	t.Helper()
	var said strings.Builder
	up := exec.CommandContext(t.Context(), "../../../e2e/servers/postgres", "up")
	up.Env = append(os.Environ(), env...)
	up.Stderr = &said
	out, err := up.Output()
	if err != nil {
		text := fmt.Sprintf("no PostgreSQL: %v: %s", err, strings.TrimSpace(said.String()))
		if os.Getenv("REDRIVE_REQUIRE_SERVERS") == "1" {
			t.Fatal(text)
		}
		t.Skip(text)
	}
	return strings.TrimSpace(string(out))
}

func postgres(t *testing.T) *sql.DB {
	t.Helper()
	return connect(t, postgresURL(t))
}

func connect(t *testing.T, url string) *sql.DB {
	t.Helper()
	db, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// onPostgres makes an inbox in a table of its own.
func onPostgres(t *testing.T, db *sql.DB, now func() time.Time) *sqlinbox.Inbox {
	t.Helper()
	table := fmt.Sprintf("inbox_%016x", rand.Uint64())
	i, err := sqlinbox.New(db, sqlinbox.Config{Dialect: sqlinbox.PostgreSQL, Table: table, Now: now, Retention: idempotencytest.TTL, Timeout: 30 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(i.Migrate(t.Context()), i.Migrate(t.Context())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := db.ExecContext(context.WithoutCancel(t.Context()), "DROP TABLE "+table); err != nil {
			t.Error(err)
		}
	})
	return i
}

func TestPostgreSQLKeepsTheContract(t *testing.T) {
	t.Parallel()
	db := postgres(t)
	idempotencytest.Run(t, func(t *testing.T, now func() time.Time) idempotency.Store { return onPostgres(t, db, now) })
}

// The inbox row commits and rolls back with the handler's own work, also when
// the connection is cut in the middle.
func TestPostgreSQLCommitsWithTheHandler(t *testing.T) {
	t.Parallel()
	db := postgres(t)
	i := onPostgres(t, db, time.Now)
	effects := fmt.Sprintf("effects_%016x", rand.Uint64())
	if _, err := db.ExecContext(t.Context(), "CREATE TABLE "+effects+" (id TEXT PRIMARY KEY)"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = db.ExecContext(context.WithoutCancel(t.Context()), "DROP TABLE "+effects) })
	claim := func(key string) context.Context {
		r, err := i.Claim(t.Context(), key, "g", "f", time.Minute)
		if err != nil || r.State != idempotency.Claimed {
			t.Fatalf("claim %s: %v, %v", key, r.State, err)
		}
		return idempotency.WithClaim(t.Context(), r.Claim)
	}
	insert := func(ctx context.Context, tx *sql.Tx, key string) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO "+effects+" VALUES ($1)", key)
		return err
	}
	ctx := claim("good")
	if err := i.InTx(ctx, func(tx *sql.Tx) error { return insert(ctx, tx, "good") }); err != nil {
		t.Fatal(err)
	}
	ctx = claim("cut")
	err := i.InTx(ctx, func(tx *sql.Tx) error {
		var pid int
		if err := errors.Join(insert(ctx, tx, "cut"), tx.QueryRowContext(ctx, "SELECT pg_backend_pid()").Scan(&pid)); err != nil {
			return err
		}
		_, err := db.ExecContext(ctx, "SELECT pg_terminate_backend($1)", pid)
		return err
	})
	if err == nil {
		t.Error("a transaction whose connection was cut is committed")
	}
	for key, want := range map[string]idempotency.State{"good": idempotency.Done, "cut": idempotency.Busy} {
		var n int
		if err := db.QueryRowContext(t.Context(), "SELECT count(*) FROM "+effects+" WHERE id = $1", key).Scan(&n); err != nil {
			t.Fatal(err)
		}
		r, err := i.Claim(t.Context(), key, "g", "f", time.Minute)
		if err != nil || r.State != want || (n == 1) != (want == idempotency.Done) {
			t.Errorf("%s: %d effects, the key is %v, %v; want %v", key, n, r.State, err, want)
		}
	}
}
