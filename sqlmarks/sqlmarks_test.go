package sqlmarks_test

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

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/sqlmarks"
)

var update = flag.Bool("update", false, "write the golden files")

// noDatabase is a connector for tests that must not reach a database.
type noDatabase struct{}

var errNoDatabase = errors.New("no database")

func (noDatabase) Connect(context.Context) (driver.Conn, error) { return nil, errNoDatabase }
func (noDatabase) Driver() driver.Driver                        { return nil }

func store(t *testing.T, cfg sqlmarks.Config) *sqlmarks.Store {
	t.Helper()
	db := sql.OpenDB(noDatabase{})
	t.Cleanup(func() { _ = db.Close() })
	s, err := sqlmarks.New(db, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestConfig(t *testing.T) {
	got := sqlmarks.Config{Dialect: sqlmarks.SQLite}.WithDefaults()
	if got.Table != "redrive_marks" || got.Retention != 30*24*time.Hour || got.Timeout != 5*time.Second || got.Now == nil {
		t.Errorf("defaults are %+v", got)
	}
	bad := sqlmarks.Config{Dialect: "oracle", Table: "x; DROP TABLE y", Retention: -1, Timeout: -1}
	want := strings.Join([]string{
		`dialect: "oracle", want "sqlite" or "postgresql"`,
		`table: "x; DROP TABLE y", want at most 48 letters, digits and underscores, not beginning with a digit`,
		`retention: -1ns, want at least 1h`,
		`timeout: -1ns, want more than 0`,
	}, "\n")
	if err := bad.Validate(); err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
	if _, err := sqlmarks.New(nil, bad); err == nil || !strings.Contains(err.Error(), "db: nil") || !strings.Contains(err.Error(), "dialect") {
		t.Errorf("New with everything wrong: %v", err)
	}
}

// TestSchema keeps the table as it is: changing it needs a migration.
func TestSchema(t *testing.T) {
	for _, cfg := range []sqlmarks.Config{
		{Dialect: sqlmarks.SQLite},
		{Dialect: sqlmarks.PostgreSQL, Table: "app.marks"},
	} {
		schema, file := store(t, cfg).Schema(), filepath.Join("testdata", string(cfg.Dialect)+".sql")
		if *update {
			if err := os.WriteFile(file, []byte(schema), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), schema); diff != "" {
			t.Errorf("%s (-golden +got):\n%s", cfg.Dialect, diff)
		}
	}
}

// What the database refuses is said with the id, and no mark is made up.
func TestErrorsOfTheDatabase(t *testing.T) {
	s := store(t, sqlmarks.Config{Dialect: sqlmarks.SQLite})
	_, loading := s.LoadMark(t.Context(), "copy 7")
	for what, err := range map[string]error{
		"load": loading, "store": s.StoreMark(t.Context(), "copy 7", broker.Mark{Explained: 1}), "delete": s.DeleteMark(t.Context(), "copy 7"),
	} {
		if !errors.Is(err, errNoDatabase) || !strings.Contains(err.Error(), `"copy 7"`) || !strings.Contains(err.Error(), "redrive_marks") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := s.Migrate(t.Context()); !errors.Is(err, errNoDatabase) {
		t.Errorf("migrate: %v", err)
	}
	if _, err := s.Purge(t.Context(), 0); err == nil || errors.Is(err, errNoDatabase) {
		t.Errorf("a purge without a limit: %v", err)
	}
	huge := broker.Mark{Pending: &broker.Pending{Envelope: make([]byte, sqlmarks.MaxMark)}}
	var tooLarge *broker.TooLargeError
	if err := s.StoreMark(t.Context(), "copy 7", huge); !errors.As(err, &tooLarge) {
		t.Errorf("a huge mark: %v", err)
	}
}
