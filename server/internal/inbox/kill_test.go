package inbox_test

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/redrive-dev/redrive/idempotency"
	"github.com/redrive-dev/redrive/idempotency/idempotencytest"
	"github.com/redrive-dev/redrive/server/internal/inbox"
	"github.com/redrive-dev/redrive/sqlinbox"
)

const (
	childDir   = "REDRIVE_INBOX_CHILD_DIR"
	childURL   = "REDRIVE_INBOX_CHILD_URL"
	childTable = "REDRIVE_INBOX_CHILD_TABLE"
	childRound = "REDRIVE_INBOX_CHILD_ROUND"

	messages = 400
	kills    = 30
)

func TestMain(m *testing.M) {
	var err error
	switch dir, table := os.Getenv(childDir), os.Getenv(childTable); {
	case dir != "":
		err = consume(dir, os.Getenv(childRound))
	case table != "":
		err = consumePostgres(os.Getenv(childURL), table, os.Getenv(childRound))
	default:
		os.Exit(m.Run())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// roundClock is the clock of one life of the consumer. Each life is an hour
// after the last, so that the leases of the dead have ended.
func roundClock(round int) func() time.Time {
	clock := idempotencytest.NewClock()
	clock.Advance(time.Duration(round) * time.Hour)
	return clock.Now
}

func openForKill(ctx context.Context, dir string, round int) (*inbox.Inbox, error) {
	return inbox.Open(ctx, dir, sqlinbox.Config{Now: roundClock(round), Retention: 365 * 24 * time.Hour})
}

// consume is the child on SQLite.
func consume(dir, roundText string) error {
	ctx := context.Background()
	round, err := strconv.Atoi(roundText)
	if err != nil {
		return err
	}
	i, err := openForKill(ctx, dir, round)
	if err != nil {
		return err
	}
	if _, err := i.DB().ExecContext(ctx, createEffects); err != nil {
		return err
	}
	problem := everyMessage(round, func(key string) error { return handle(ctx, i.Inbox, insert, os.Stdout, key) })
	return errors.Join(problem, i.Close())
}

// everyMessage has four workers handle all messages, each in an order of its own,
// until one fails.
func everyMessage(round int, handle func(key string) error) error {
	var wg sync.WaitGroup
	problems := make([]error, 4)
	for worker := range problems {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(round), uint64(worker)))
			for _, n := range rng.Perm(messages) {
				if err := handle(fmt.Sprint("message ", n)); err != nil {
					problems[worker] = err
					return
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(problems...)
}

// effect is what handling a message of this name does in the transaction.
type effect func(ctx context.Context, name string) func(*sql.Tx) error

// handle handles one message, unless it was handled or another worker has it, and
// says what it has just done.
func handle(ctx context.Context, i *sqlinbox.Inbox, do effect, say io.Writer, key string) error {
	r, err := i.Claim(ctx, key, "g", "f", time.Minute)
	if err != nil || r.State != idempotency.Claimed {
		return err
	}
	_, _ = fmt.Fprintln(say, "claimed", key)
	ctx = idempotency.WithClaim(ctx, r.Claim)
	if err := i.InTx(ctx, do(ctx, key)); err != nil {
		return err
	}
	_, _ = fmt.Fprintln(say, "committed", key)
	if err := i.Complete(ctx, r.Claim); err != nil {
		return err
	}
	_, _ = fmt.Fprintln(say, "completed", key)
	return nil
}

// TestKilledConsumer kills the consumer at random points and starts it again.
// Afterwards each message has taken effect once.
func TestKilledConsumer(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	rng := rand.New(rand.NewPCG(5, 6))
	for round := range kills {
		if !runAndKill(t, round, 1+rng.IntN(30), childDir+"="+dir) {
			t.Fatalf("the consumer was done before kill %d: there are too few messages", round)
		}
	}
	i, err := openForKill(t.Context(), dir, kills)
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close() //nolint:errcheck // nothing is written afterwards
	before := len(effects(t, i))
	if before == 0 || before == messages {
		t.Errorf("%d of %d messages were handled before the last life: the kills missed the work", before, messages)
	}
	for n := range messages {
		if err := handle(t.Context(), i.Inbox, insert, io.Discard, fmt.Sprint("message ", n)); err != nil {
			t.Fatal(err)
		}
	}
	found := effects(t, i)
	for n := range messages {
		if key := fmt.Sprint("message ", n); found[key] != 1 {
			t.Errorf("%s took effect %d times", key, found[key])
		}
	}
	t.Logf("%d messages took effect under %d kills, the others after them", before, kills)
}

// runAndKill starts a consumer and kills it after it has said the given number of
// things. It reports whether the kill came before the consumer's own end.
func runAndKill(t *testing.T, round, lines int, env ...string) bool {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(append(os.Environ(), env...), childRound+"="+strconv.Itoa(round))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	scan := bufio.NewScanner(out)
	for said := 0; said < lines && scan.Scan(); said++ {
		continue
	}
	if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, out); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	err = cmd.Wait()
	if errors.As(err, &exit) && exit.Exited() {
		t.Fatalf("the consumer failed: %v", err)
	}
	return err != nil
}
