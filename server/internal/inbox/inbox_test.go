package inbox_test

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/redrive-dev/redrive/idempotency"
	"github.com/redrive-dev/redrive/idempotency/idempotencytest"
	"github.com/redrive-dev/redrive/server/internal/inbox"
	"github.com/redrive-dev/redrive/sqlinbox"
)

func open(t *testing.T, dir string, now func() time.Time) *inbox.Inbox {
	t.Helper()
	i, err := inbox.Open(t.Context(), dir, sqlinbox.Config{Now: now, Retention: idempotencytest.TTL})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := i.Close(); err != nil {
			t.Error(err)
		}
	})
	return i
}

func TestConformance(t *testing.T) {
	t.Parallel()
	idempotencytest.Run(t, func(t *testing.T, now func() time.Time) idempotency.Store {
		t.Helper()
		return open(t, t.TempDir(), now)
	})
}

func claim(t *testing.T, i *inbox.Inbox, key string) (context.Context, idempotency.Claim) {
	t.Helper()
	r, err := i.Claim(t.Context(), key, "g", "f", time.Minute)
	if err != nil || r.State != idempotency.Claimed {
		t.Fatalf("claim: %v, %v", r.State, err)
	}
	return idempotency.WithClaim(t.Context(), r.Claim), r.Claim
}

func effects(t *testing.T, i *inbox.Inbox) map[string]int {
	t.Helper()
	rows, err := i.DB().QueryContext(t.Context(), "SELECT name FROM effects")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close() //nolint:errcheck // read only
	found := map[string]int{}
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			t.Fatal(err)
		}
		found[name]++
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return found
}

const createEffects = "CREATE TABLE IF NOT EXISTS effects (name TEXT NOT NULL)"

func insert(ctx context.Context, name string) func(*sql.Tx) error {
	return func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO effects VALUES (?)", name)
		return err
	}
}

// TestEffectAndCompletionAreOne: they commit together or not at all.
func TestEffectAndCompletionAreOne(t *testing.T) {
	t.Parallel()
	clock := idempotencytest.NewClock()
	i := open(t, t.TempDir(), clock.Now)
	if _, err := i.DB().ExecContext(t.Context(), createEffects); err != nil {
		t.Fatal(err)
	}

	ctx, c := claim(t, i, "committed")
	if err := i.InTx(ctx, insert(ctx, "committed")); err != nil {
		t.Fatal(err)
	}
	if err := i.Complete(t.Context(), c); err != nil {
		t.Errorf("complete what the transaction completed: %v", err)
	}

	boom := errors.New("boom")
	ctx, c = claim(t, i, "failed")
	err := i.InTx(ctx, func(tx *sql.Tx) error { return errors.Join(insert(ctx, "failed")(tx), boom) })
	if !errors.Is(err, boom) {
		t.Errorf("error is %v, want boom", err)
	}
	if err := i.Release(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	claim(t, i, "failed")

	ctx, _ = claim(t, i, "panicked")
	func() {
		defer func() { _ = recover() }()
		_ = i.InTx(ctx, func(tx *sql.Tx) error { _ = insert(ctx, "panicked")(tx); panic("boom") })
	}()

	ctx, _ = claim(t, i, "fenced")
	clock.Advance(time.Minute)
	claim(t, i, "fenced")
	if err := i.InTx(ctx, insert(ctx, "fenced")); !errors.Is(err, idempotency.ErrFenced) {
		t.Errorf("error is %v, want ErrFenced", err)
	}

	ctx, _ = claim(t, i, "own transaction")
	tx, err := i.DB().BeginTx(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(insert(ctx, "own transaction")(tx), i.CompleteTx(ctx, tx), tx.Commit()); err != nil {
		t.Fatal(err)
	}

	if diff := cmp.Diff(map[string]int{"committed": 1, "own transaction": 1}, effects(t, i)); diff != "" {
		t.Errorf("effects (-want +got):\n%s", diff)
	}
}

func TestPurge(t *testing.T) {
	t.Parallel()
	clock := idempotencytest.NewClock()
	i := open(t, t.TempDir(), clock.Now)
	purge := func(limit int, want int64) {
		t.Helper()
		if got, err := i.Purge(t.Context(), limit); err != nil || got != want {
			t.Fatalf("purged %d, %v, want %d", got, err, want)
		}
	}
	for _, key := range []string{"done 1", "done 2", "done 3"} {
		_, c := claim(t, i, key)
		if err := i.Complete(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	_, released := claim(t, i, "released")
	if err := i.Release(t.Context(), released); err != nil {
		t.Fatal(err)
	}
	claim(t, i, "abandoned")

	clock.Advance(idempotencytest.TTL - time.Millisecond)
	purge(10, 0)
	clock.Advance(time.Millisecond)
	purge(3, 3)
	purge(3, 1)
	purge(3, 0)
	clock.Advance(time.Minute) // the abandoned claim lasted a minute
	purge(3, 1)
	if _, err := i.Purge(t.Context(), 0); err == nil {
		t.Error("a purge without a limit was accepted")
	}
}

// TestFile: the file is private, survives a reopening, and an awkward path is
// still one file.
func TestFile(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a b?c#d%20&_pragma=synchronous(OFF)")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	clock := idempotencytest.NewClock()
	i, err := inbox.Open(t.Context(), dir, sqlinbox.Config{Now: clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	_, c := claim(t, i, "k")
	if err := errors.Join(i.Complete(t.Context(), c), i.Close()); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, inbox.FileName))
	if err != nil || info.Mode().Perm() != 0o600 || info.Size() == 0 {
		t.Errorf("file: %v, %v", info, err)
	}
	again := open(t, dir, clock.Now)
	if r, err := again.Claim(t.Context(), "k", "g", "f", time.Minute); err != nil || r.State != idempotency.Done {
		t.Errorf("after reopening: %v, %v, want done", r.State, err)
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	if _, err := inbox.Open(t.Context(), filepath.Join(t.TempDir(), "missing"), sqlinbox.Config{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing directory: %v", err)
	}
	if _, err := inbox.Open(t.Context(), t.TempDir(), sqlinbox.Config{Table: "a b"}); err == nil {
		t.Error("a wrong configuration was accepted")
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, inbox.FileName), []byte("this is not a database, it is a text"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := inbox.Open(t.Context(), dir, sqlinbox.Config{}); err == nil {
		t.Error("a file that is no database was accepted")
	}
}

// TestNotClaimedWhileLocked: a database that is busy for longer than the timeout
// is an error, and not an answer.
func TestNotClaimedWhileLocked(t *testing.T) {
	t.Parallel()
	i, err := inbox.Open(t.Context(), t.TempDir(), sqlinbox.Config{Timeout: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = i.Close() })
	tx, err := i.DB().BeginTx(t.Context(), nil) // takes the lock, being immediate
	if err != nil {
		t.Fatal(err)
	}
	if r, err := i.Claim(t.Context(), "k", "g", "f", time.Minute); err == nil {
		t.Errorf("claimed while another transaction writes: %v", r.State)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	claim(t, i, "k")
}

func BenchmarkClaimComplete(b *testing.B) {
	i, err := inbox.Open(b.Context(), b.TempDir(), sqlinbox.Config{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = i.Close() })
	n := 0
	for b.Loop() {
		n++
		r, err := i.Claim(b.Context(), string(rune(n)), "g", "f", time.Minute)
		if err != nil {
			b.Fatal(err)
		}
		if r.State == idempotency.Claimed {
			if err := i.Complete(b.Context(), r.Claim); err != nil {
				b.Fatal(err)
			}
		}
	}
}
