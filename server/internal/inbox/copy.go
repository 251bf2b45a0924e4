package inbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
)

// Copy writes a database of SQLite to a new file, as it is at one instant, also
// while others use it. What committed before the call is in the copy.
func Copy(ctx context.Context, from, to string) error {
	from, err := filepath.Abs(from)
	if err != nil {
		return fmt.Errorf("copy database: %w", err)
	}
	// Read and write: a database whose last user was killed is brought in order
	// first, as the next user would do.
	query := url.Values{"mode": {"rw"}, "_pragma": {"busy_timeout(10000)"}}
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Path: filepath.ToSlash(from), RawQuery: query.Encode()}).String())
	if err != nil {
		return fmt.Errorf("copy database %s: %w", from, err)
	}
	_, err = db.ExecContext(ctx, "VACUUM INTO ?", to)
	if err = errors.Join(err, db.Close()); err != nil {
		return fmt.Errorf("copy database %s: %w", from, err)
	}
	return nil
}

// Check reads from the database of a data directory and changes no file. An error
// that wraps [io/fs.ErrNotExist] says that there is none.
func Check(ctx context.Context, dir string) error {
	file, err := filepath.Abs(filepath.Join(dir, FileName))
	if err != nil {
		return fmt.Errorf("inbox: %w", err)
	}
	return check(ctx, file)
}

func check(ctx context.Context, file string) error {
	if _, err := os.Stat(file); err != nil {
		return fmt.Errorf("inbox: %w", err)
	}
	query := url.Values{"mode": {"ro"}, "readonly_shm": {"1"}, "_pragma": {"busy_timeout(2000)", "query_only(1)"}}
	if _, err := os.Stat(file + "-wal"); errors.Is(err, fs.ErrNotExist) {
		// Nobody has it open. To read it as usual, SQLite would make the files beside
		// it that it shares with others.
		query.Set("immutable", "1")
	}
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Path: filepath.ToSlash(file), RawQuery: query.Encode()}).String())
	if err != nil {
		return fmt.Errorf("inbox %s: %w", file, err)
	}
	var tables int
	err = db.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_master").Scan(&tables)
	if err = errors.Join(err, db.Close()); err != nil {
		return fmt.Errorf("inbox %s: %w", file, err)
	}
	return nil
}
