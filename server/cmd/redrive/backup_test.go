//go:build unix

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// ledger is an endpoint that remembers what it handled. Every seventh order is
// refused for good, and every third fails when it comes for the first time.
type ledger struct {
	mu      sync.Mutex
	keys    map[string]string // by order: the idempotency key
	handled map[string]int
	seen    int
	half    chan struct{}
	after   int
	changed []string
}

func newLedger(after int) *ledger {
	return &ledger{keys: map[string]string{}, handled: map[string]int{}, half: make(chan struct{}), after: after}
}

func (l *ledger) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	var order struct{ N int }
	_ = json.Unmarshal(body, &order)
	name := string(body)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.seen++; l.seen == l.after {
		close(l.half)
	}
	key := r.Header.Get("Idempotency-Key")
	first := l.keys[name] == ""
	if !first && l.keys[name] != key {
		l.changed = append(l.changed, name)
	}
	l.keys[name] = key
	switch {
	case order.N%7 == 0:
		w.WriteHeader(http.StatusUnprocessableEntity)
	case order.N%3 == 0 && first:
		// Not by the number of the attempt: a failed probe of an open breaker does not
		// count, and would fail the same way for ever.
		w.WriteHeader(http.StatusConflict)
	default:
		l.handled[name]++
		w.WriteHeader(http.StatusNoContent)
	}
}

const backupConfig = `version: 1
admin: {listen: "127.0.0.1:0"}
brokers: {local: {type: embedded, max_store: 256MiB}}
subscriptions:
  - {source: orders, concurrency: 4, handler_timeout: 2s, handler_grace: 1s, lease: 2s, inbox: {store: sqlite}, handler: {http: {url: "%s"}}}
`

// A killed process, its data directory backed up, destroyed and restored: every
// confirmed message is handled or a dead letter, nothing else is, and each kept
// its idempotency key.
func TestRestoredAfterSIGKILL(t *testing.T) {
	t.Parallel()
	const orders = 300
	l := newLedger(orders / 3)
	dir := folder(t, fmt.Sprintf(backupConfig, endpoint(t, l.ServeHTTP)))
	var lines strings.Builder
	for n := range orders {
		fmt.Fprintf(&lines, "{\"n\":%d}\n", n)
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "o.ndjson"), []byte(lines.String()), 0o600))
	up := start(t, dir, "up")
	up.await(t, "ready")
	require.Contains(t, command(t, dir, "publish", "orders", "-f", "o.ndjson"), "published 300 messages")
	<-l.half
	require.Contains(t, refused(t, dir, 1, "backup", "early.tar.gz"), "is in use by process")
	up.stop(t, syscall.SIGKILL)

	command(t, dir, "backup", "b.tar.gz")
	require.NoError(t, os.RemoveAll(filepath.Join(dir, "redrive-data")))
	require.Contains(t, command(t, dir, "restore", "b.tar.gz", "--verify"), "every sum is right")
	command(t, dir, "restore", "b.tar.gz")
	_, err := os.Stat(filepath.Join(dir, "redrive-data", "nats.token"))
	require.ErrorIs(t, err, os.ErrNotExist, "the token is not in a backup")

	up = start(t, dir, "up")
	up.await(t, "ready")
	ended(t, dir, l, orders)
	dead := command(t, dir, "queue", "peek", "orders.dlq", "-n", "1000", "-o", "json", "--jq", `.[].body`)
	code, rest := up.stop(t, syscall.SIGTERM)
	require.Equal(t, 0, code, rest)

	l.mu.Lock()
	defer l.mu.Unlock()
	letters := map[string]bool{}
	for body := range strings.FieldsSeq(dead) {
		letters[body] = true
	}
	lost := 0
	for n := range orders {
		body := fmt.Sprintf(`{"n":%d}`, n)
		if l.handled[body] > 0 == letters[body] {
			lost++
			t.Errorf("order %s: handled %d times, a dead letter: %v", body, l.handled[body], letters[body])
		}
	}
	require.Empty(t, l.changed, "their idempotency keys changed")
	require.Len(t, letters, (orders+6)/7)
	require.Len(t, l.handled, orders-len(letters))
	t.Logf("%d published, %d handled, %d dead letters, lost %d, unexpected 0", orders, len(l.handled), len(letters), lost)
}

// refused runs a command that must end with a code, and returns what it says.
func refused(t *testing.T, dir string, code int, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "redrive", args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	require.Error(t, err, string(out))
	require.Equal(t, code, cmd.ProcessState.ExitCode(), string(out))
	return string(out)
}

// ended waits until every order is handled or a dead letter. The queues need not be
// empty: a broker that was killed can keep messages that were acknowledged.
func ended(t *testing.T, dir string, l *ledger, orders int) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		letters, err := strconv.Atoi(strings.TrimSpace(command(t, dir, "queue", "ls", "-o", "json", "--jq",
			`[.[] | select(.name == "orders.dlq") | .depth] | add`)))
		l.mu.Lock()
		handled := len(l.handled)
		l.mu.Unlock()
		if err == nil && letters+handled >= orders {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d handled and %d letters (%v) of %d within %s; the queues:\n%s",
				handled, letters, err, orders, patience, command(t, dir, "queue", "ls"))
		}
	}
}

// killedAt runs a command and kills it after a time.
func killedAt(t *testing.T, dir string, after time.Duration, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), after)
	defer cancel()
	cmd := exec.CommandContext(ctx, "redrive", args...)
	cmd.Dir = dir
	_ = cmd.Run() // Killed or not, what matters is what it leaves.
}

// However far a backup or a restore was when it was killed: under the final name
// there is all of it or nothing, and the next one works.
func TestKilledBackupAndRestore(t *testing.T) {
	t.Parallel()
	dir := folder(t, sinkConfig)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "o.ndjson"), []byte("{\"n\":1}\n{\"n\":2}\n"), 0o600))
	command(t, dir, "publish", "orders", "-f", "o.ndjson")
	// Bytes that do not compress make it take long enough.
	bulk := bytes.Repeat([]byte("0123456789abcdef"), 1<<20)
	for n := range bulk {
		bulk[n] ^= byte(n*n>>3) ^ byte(n>>11)
	}
	data := filepath.Join(dir, "redrive-data")
	require.NoError(t, os.WriteFile(filepath.Join(data, "bulk"), bulk, 0o600))
	began := time.Now()
	command(t, dir, "backup", "whole.tar.gz")
	took := time.Since(began)
	complete := 0
	const tries = 12
	for n := range tries {
		file := fmt.Sprintf("b%d.tar.gz", n)
		killedAt(t, dir, 2*took*time.Duration(n+1)/tries, "backup", file)
		if _, err := os.Stat(filepath.Join(dir, file)); err == nil {
			complete++
			command(t, dir, "restore", file, "--verify")
		}
	}
	t.Logf("%d of %d backups were complete when the kill came", complete, tries)
	command(t, dir, "backup", "after.tar.gz")

	began = time.Now()
	command(t, dir, "restore", "whole.tar.gz", "--data-dir", "first")
	took = time.Since(began)
	for n := range tries {
		to := fmt.Sprintf("to%d", n)
		killedAt(t, dir, 2*took*time.Duration(n+1)/tries, "restore", "whole.tar.gz", "--data-dir", to)
		if _, err := os.Stat(filepath.Join(dir, to)); err != nil {
			command(t, dir, "restore", "whole.tar.gz", "--data-dir", to)
		}
		got, err := os.ReadFile(filepath.Join(dir, to, "bulk"))
		require.NoError(t, err)
		require.True(t, bytes.Equal(bulk, got))
		require.NoDirExists(t, filepath.Join(dir, to+".restoring"))
		require.Contains(t, command(t, dir, "queue", "ls", "--data-dir", to, "-o", "json", "--jq", `.[] | select(.name == "orders") | .depth`), "2")
	}
}
