package sqlinbox_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/redrive-dev/redrive/idempotency"
	"github.com/redrive-dev/redrive/sqlinbox"
)

var update = flag.Bool("update", false, "write the golden files")

// noDatabase is a connector for tests that must not reach a database.
type noDatabase struct{}

var errNoDatabase = errors.New("no database")

func (noDatabase) Connect(context.Context) (driver.Conn, error) { return nil, errNoDatabase }
func (noDatabase) Driver() driver.Driver                        { return nil }

func TestConfig(t *testing.T) {
	got := sqlinbox.Config{Dialect: sqlinbox.SQLite}.WithDefaults()
	if got.Table != "redrive_inbox" || got.Retention != 7*24*time.Hour || got.Timeout != 5*time.Second || got.Now == nil {
		t.Errorf("defaults are %+v", got)
	}
	bad := sqlinbox.Config{Dialect: "oracle", Table: "x; DROP TABLE y", Retention: -1, Timeout: -1}
	want := strings.Join([]string{
		`dialect: "oracle", want "sqlite" or "postgresql"`,
		`table: "x; DROP TABLE y", want at most 48 letters, digits and underscores, not beginning with a digit`,
		`retention: -1ns, want at least 1m`,
		`timeout: -1ns, want more than 0`,
	}, "\n")
	if err := bad.Validate(); err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
	if _, err := sqlinbox.New(nil, bad); err == nil || !strings.Contains(err.Error(), "db: nil") || !strings.Contains(err.Error(), "dialect") {
		t.Errorf("New with everything wrong: %v", err)
	}
}

func TestTableNames(t *testing.T) {
	for _, c := range []struct {
		table   string
		dialect sqlinbox.Dialect
		ok      bool
	}{
		{"inbox", sqlinbox.SQLite, true},
		{"_I9", sqlinbox.SQLite, true},
		{"app.inbox", sqlinbox.PostgreSQL, true},
		{"app.inbox", sqlinbox.SQLite, false},
		{"a.b.c", sqlinbox.PostgreSQL, false},
		{".inbox", sqlinbox.PostgreSQL, false},
		{"app.", sqlinbox.PostgreSQL, false},
		{"9inbox", sqlinbox.SQLite, false},
		{"app.9inbox", sqlinbox.PostgreSQL, false},
		{"in box", sqlinbox.SQLite, false},
		{"$1", sqlinbox.SQLite, false},
		{strings.Repeat("x", 49), sqlinbox.SQLite, false},
	} {
		err := sqlinbox.Config{Dialect: c.dialect, Table: c.table}.Validate()
		if (err == nil) != c.ok {
			t.Errorf("%q on %s: %v", c.table, c.dialect, err)
		}
	}
}

// TestSchema keeps the table as it is: changing it needs a migration.
func TestSchema(t *testing.T) {
	for _, cfg := range []sqlinbox.Config{
		{Dialect: sqlinbox.SQLite},
		{Dialect: sqlinbox.PostgreSQL, Table: "app.inbox"},
	} {
		db := sql.OpenDB(noDatabase{})
		inbox, err := sqlinbox.New(db, cfg)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join("testdata", string(cfg.Dialect)+".sql")
		if *update {
			if err := os.WriteFile(file, []byte(inbox.Schema()), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), inbox.Schema()); diff != "" {
			t.Errorf("%s (-golden +got):\n%s", cfg.Dialect, diff)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestUnreachable: every operation reports an unreachable database as it is, and
// never as an answer.
func TestUnreachable(t *testing.T) {
	db := sql.OpenDB(noDatabase{})
	t.Cleanup(func() { _ = db.Close() })
	inbox, err := sqlinbox.New(db, sqlinbox.Config{Dialect: sqlinbox.PostgreSQL})
	if err != nil {
		t.Fatal(err)
	}
	c := idempotency.Claim{Key: "k", Group: "g", Token: 1}
	ctx := idempotency.WithClaim(t.Context(), c)
	for name, try := range map[string]func() error{
		"claim":    func() error { _, err := inbox.Claim(ctx, "k", "g", "f", time.Minute); return err },
		"complete": func() error { return inbox.Complete(ctx, c) },
		"release":  func() error { return inbox.Release(ctx, c) },
		"extend":   func() error { return inbox.Extend(ctx, c, time.Minute) },
		"purge":    func() error { _, err := inbox.Purge(ctx, 1); return err },
		"migrate":  func() error { return inbox.Migrate(ctx) },
		"in tx":    func() error { return inbox.InTx(ctx, func(*sql.Tx) error { t.Error("called"); return nil }) },
	} {
		if err := try(); !errors.Is(err, errNoDatabase) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestInTxNeedsAClaim(t *testing.T) {
	db := sql.OpenDB(noDatabase{})
	t.Cleanup(func() { _ = db.Close() })
	inbox, err := sqlinbox.New(db, sqlinbox.Config{Dialect: sqlinbox.SQLite})
	if err != nil {
		t.Fatal(err)
	}
	err = inbox.InTx(t.Context(), func(*sql.Tx) error { t.Error("called"); return nil })
	if !errors.Is(err, idempotency.ErrNoClaim) {
		t.Errorf("error is %v, want ErrNoClaim", err)
	}
	if err := inbox.CompleteTx(t.Context(), nil); !errors.Is(err, idempotency.ErrNoClaim) {
		t.Errorf("error is %v, want ErrNoClaim", err)
	}
}

// ExampleInbox_InTx is a handler: what it does and the record that it did commit
// together.
func ExampleInbox_InTx() {
	var inbox *sqlinbox.Inbox // made by New, and given to the worker

	handle := func(ctx context.Context, account string, amount int) error {
		return inbox.InTx(ctx, func(tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, "UPDATE accounts SET balance = balance - $1 WHERE id = $2", amount, account)
			return err
		})
	}
	_ = handle
	// Output:
}
