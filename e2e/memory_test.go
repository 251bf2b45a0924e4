package e2e_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redrive-dev/redrive"
	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/internal/natstest"
	"github.com/redrive-dev/redrive/redrivenats"
)

// workerURL is the variable that makes this program a worker.
const workerURL = "REDRIVE_E2E_WORKER"

func TestMain(m *testing.M) {
	if url := os.Getenv(workerURL); url != "" {
		if err := work(url); err != nil {
			fmt.Fprintln(os.Stderr, "worker:", err)
			os.Exit(1)
		}
		return
	}
	registerToxics()
	// ElasticMQ takes any credentials, but the SDK of AWS wants some.
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} {
		if err := os.Setenv(name, "test"); err != nil {
			panic(err)
		}
	}
	flag.Parse()
	// Nearly all of their time is waiting for leases and faults.
	if err := flag.Set("test.parallel", "32"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

const (
	token = "natstest-token"
	// most is the largest resident set of a worker, whatever waits.
	most = 200 << 20
)

// work handles messages until enough were, or its standard input ends, and prints
// how many and the largest resident set that it ever had.
func work(url string) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	enough, err := strconv.ParseInt(os.Getenv(workerURL+"_ENOUGH"), 10, 64)
	if err != nil {
		return err
	}
	b, err := redrivenats.Connect(ctx, redrivenats.Config{URL: url, Token: token})
	if err != nil {
		return err
	}
	defer func() { _ = b.Close(context.WithoutCancel(ctx)) }()
	var handled atomic.Int64
	w, err := redrive.NewWorker(b, func(_ context.Context, m *redrive.Message) error {
		n := handled.Add(1)
		if n >= enough {
			cancel()
		}
		switch {
		case n%20 == 0 && m.Attempt == 1:
			return redrive.Local(errors.New("away"))
		case n%50 == 0:
			return redrive.Business(errors.New("refused"))
		}
		return nil
	}, redrive.Config{Source: "orders", Concurrency: 256})
	if err != nil {
		return err
	}
	if err := w.Run(ctx); err != nil {
		return err
	}
	peak, err := peakMemory("self")
	if err != nil {
		return err
	}
	fmt.Printf("%d %d\n", handled.Load(), peak)
	return nil
}

// peakMemory is the largest resident set that a process ever had, in bytes.
func peakMemory(pid string) (int64, error) {
	status, err := os.ReadFile("/proc/" + pid + "/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.SplitSeq(string(status), "\n") {
		if kib, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(kib, "kB")), 10, 64)
			return n << 10, err
		}
	}
	return 0, errors.New("no VmHWM in /proc")
}

// TestWorkerBeforeABacklog: a worker process stays small whatever waits for it.
func TestWorkerBeforeABacklog(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells the largest resident set of a process")
	}
	backlog, enough, large := 100_000, 30_000, 10
	if os.Getenv("REDRIVE_FULL") == "1" {
		backlog, enough, large = 1_000_000, 200_000, 50
	}
	server := natstest.Start(t, natstest.Options{})
	b := connectNATS(t, strings.TrimPrefix(server.URL, "nats://"), nil, 30*time.Second)
	if err := b.Topology().Ensure(t.Context(), broker.Spec{Source: "orders"}); err != nil {
		t.Fatal(err)
	}
	fill(t, b, backlog, large)
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program)
	cmd.Env = append(os.Environ(), workerURL+"="+server.URL, fmt.Sprintf("%s_ENOUGH=%d", workerURL, enough))
	stdin, err := cmd.StdinPipe() // Its end is the end of this process.
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stdin.Close() }()
	began := time.Now()
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("worker: %v: %s", err, out)
	}
	var handled, peak int64
	if _, err := fmt.Sscan(string(out), &handled, &peak); err != nil {
		t.Fatalf("worker printed %q: %v", out, err)
	}
	t.Logf("%d of %d messages run in %v, at most %d MiB resident", handled, backlog, time.Since(began).Round(time.Millisecond), peak>>20)
	if handled < int64(enough) {
		t.Errorf("%d messages run, want %d", handled, enough)
	}
	if peak > most {
		t.Errorf("the worker had %d MiB resident before %d messages, want at most %d", peak>>20, backlog, most>>20)
	}
}

// fill publishes messages of 1 KiB, and every so many one of 16 KiB.
func fill(t *testing.T, b broker.Broker, n, large int) {
	t.Helper()
	small, big := make([]byte, 1<<10), make([]byte, 16<<10)
	const batch = 5000
	for start := 0; start < n; start += batch {
		out := make([]broker.Outbound, batch)
		for i := range out {
			out[i] = broker.Outbound{Queue: "orders", ID: fmt.Sprint("pub:", start+i), Body: small}
			if i%large == 0 {
				out[i].Body = big
			}
		}
		for i, err := range b.Publish(t.Context(), out) {
			if err != nil {
				t.Fatalf("publish message %d of %d: %v", start+i, n, err)
			}
		}
	}
}
