//go:build unix

package inbox_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const serverKills = 3

// ownServer is a PostgreSQL that no other test uses.
type ownServer struct {
	dir string
	env []string
	url string
}

func startOwnServer(t *testing.T) *ownServer {
	t.Helper()
	// The server may run as another user, who must be able to enter it.
	dir, err := os.MkdirTemp("/var/tmp", "redrive-inbox-") //nolint:usetesting // its parent is closed to other users
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s := &ownServer{dir: dir, env: []string{"REDRIVE_SERVERS_DIR=" + dir, "REDRIVE_POSTGRES_PORT=" + freePort(t)}}
	t.Cleanup(func() { s.kill(t) })
	s.url = startPostgres(t, s.env...)
	return s
}

// freePort finds a port below those that systems give to outgoing connections, so
// that it is still free when the server comes back.
func freePort(t *testing.T) string {
	t.Helper()
	first := 12000 + os.Getpid()%4000
	for port := first; port < first+200; port++ {
		text := strconv.Itoa(port)
		var config net.ListenConfig
		l, err := config.Listen(t.Context(), "tcp", net.JoinHostPort("127.0.0.1", text))
		if err != nil {
			continue
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		return text
	}
	t.Fatal("no free port")
	return ""
}

// kill ends the server and all its processes at once, without a word. It does nothing if there is no server.
func (s *ownServer) kill(t *testing.T) {
	t.Helper()
	pidFile := filepath.Join(s.dir, "postgres", "data", "postmaster.pid")
	text, err := os.ReadFile(pidFile)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	line, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil || pid <= 1 {
		t.Fatalf("%s: %q is no process", pidFile, line)
	}
	// Stopped, it starts no process while its processes are listed: each of them has
	// a process group of its own.
	if err := syscall.Kill(pid, syscall.SIGSTOP); errors.Is(err, syscall.ESRCH) {
		return
	}
	all := append(children(pid), pid)
	for _, pid := range all {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			t.Errorf("kill %d: %v", pid, err)
		}
	}
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	late := time.After(30 * time.Second)
	for len(all) > 0 {
		if errors.Is(syscall.Kill(all[0], 0), syscall.ESRCH) {
			all = all[1:]
			continue
		}
		select {
		case <-poll.C:
		case <-late:
			t.Fatalf("process %d has not ended 30s after SIGKILL", all[0])
		}
	}
}

// children lists the processes that a process started. Where the system does not
// tell, there are none; the server's end when they see that it has ended.
func children(pid int) (pids []int) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return nil
	}
	for field := range strings.FieldsSeq(string(text)) {
		if pid, err := strconv.Atoi(field); err == nil && pid > 1 {
			pids = append(pids, pid)
		}
	}
	return pids
}

// TestPostgreSQLKilledServer kills the server in the middle of the work and starts
// it again. What it said it had committed is still there, and nothing took effect
// twice.
func TestPostgreSQLKilledServer(t *testing.T) {
	t.Parallel()
	server := startOwnServer(t)
	db := connect(t, server.url)
	l := newLedger(t, db)
	rng := rand.New(rand.NewPCG(9, 10))
	committed := &confirmed{names: map[string]bool{}}
	for round := range serverKills {
		life := mustOpenLedger(t, db, l.table, round)
		reached := committed.after(20 + rng.IntN(40))
		ended := make(chan error, 1)
		go func() { ended <- life.work(t.Context(), round, committed) }()
		select {
		case <-reached:
		case err := <-ended:
			t.Fatalf("the work ended before kill %d: %v", round, err)
		}
		server.kill(t)
		if err := <-ended; err == nil {
			t.Fatalf("the work was done before kill %d: there are too few messages", round)
		}
		startPostgres(t, server.env...)
		found := l.read(t)
		for _, name := range committed.list() {
			if found[name] != 1 {
				t.Errorf("kill %d: %s is committed and took effect %d times", round, name, found[name])
			}
		}
	}
	mustOpenLedger(t, db, l.table, serverKills).finish(t)
}

// work handles messages until the server is gone.
func (l ledger) work(ctx context.Context, round int, committed *confirmed) error {
	return everyMessage(round, func(key string) error {
		var said strings.Builder
		err := handle(ctx, l.Inbox, l.insert, &said, key)
		if strings.Contains(said.String(), "committed") {
			committed.add(key)
		}
		return err
	})
}

// confirmed are the messages whose commit the server has confirmed.
type confirmed struct {
	mu      sync.Mutex
	names   map[string]bool
	left    int
	reached chan struct{}
}

// after returns a channel that is closed after n more.
func (c *confirmed) after(n int) <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left, c.reached = n, make(chan struct{})
	return c.reached
}

func (c *confirmed) add(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.names[name] = true
	if c.left--; c.left == 0 {
		close(c.reached)
	}
}

func (c *confirmed) list() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Collect(maps.Keys(c.names))
}
