package natstest

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Options say how the server runs. The zero value is a server with the default
// sync interval and no limits.
type Options struct {
	// Version is the version to run, such as "v2.10.27". Default: the one that the
	// workspace pins.
	Version string
	// SyncAlways makes the server sync to disk before it confirms.
	SyncAlways bool
	// MaxStore limits the bytes that JetStream may store, 0 for no limit.
	MaxStore int64
	// MaxPayload is the largest message in bytes, 0 for the server's 1 MiB.
	MaxPayload int
	// Config is added to the server's configuration file.
	Config string
	// Client says how clients connect where Config asks for more than the token.
	// With it the server does not ask for the token.
	Client []nats.Option
}

// Server is a nats-server process. Its methods fail the test on trouble and
// are for the test's own goroutines.
type Server struct {
	// URL is where clients connect, without credentials.
	URL string
	// Token is the token that clients present.
	Token string

	tb     testing.TB
	binary string
	config string
	port   int
	name   string
	client []nats.Option

	mu     sync.Mutex
	cmd    *exec.Cmd
	exited chan struct{}
	output *lockedBuffer
}

// Start runs a server with JetStream on a free loopback port and a data
// directory of its own. It ends with the test.
func Start(tb testing.TB, options Options) *Server {
	tb.Helper()
	s := newServer(tb, options)
	// A port found free can be taken before the server listens; three tries make
	// that harmless.
	for range 3 {
		s.take(freePort(tb))
		s.name = fmt.Sprintf("natstest-%d-%d", os.Getpid(), s.port)
		s.config = writeConfig(tb, s, options, fmt.Sprintf("server_name: %q", s.name))
		if s.launch() == nil {
			break
		}
	}
	tb.Cleanup(s.stop)
	s.awaitReady()
	return s
}

func newServer(tb testing.TB, options Options) *Server {
	tb.Helper()
	s := &Server{tb: tb, binary: Binary(tb, options.Version), output: &lockedBuffer{}, client: options.Client}
	if s.client == nil {
		s.Token = "natstest-token"
		s.client = []nats.Option{nats.Token(s.Token)}
	}
	return s
}

func (s *Server) take(port int) {
	s.port = port
	s.URL = fmt.Sprintf("nats://127.0.0.1:%d", port)
}

// Kill ends the server with SIGKILL and returns when it is gone.
func (s *Server) Kill() {
	s.tb.Helper()
	s.end(syscall.SIGKILL)
}

// Stop ends the server in order and returns when it is gone.
func (s *Server) Stop() {
	s.tb.Helper()
	s.end(syscall.SIGTERM)
}

// Restart starts a killed server on the same port and data and returns when it
// answers.
func (s *Server) Restart() {
	s.tb.Helper()
	if err := s.launch(); err != nil {
		s.tb.Fatalf("restart nats-server: %v", err)
	}
	s.awaitReady()
}

// Upgrade stops the server in order and starts another version of it on the same
// port and data. The empty version is the one that the workspace pins.
func (s *Server) Upgrade(version string) {
	s.tb.Helper()
	s.Stop()
	s.binary = Binary(s.tb, version)
	s.Restart()
}

// Connect returns a plain connection that closes with the test.
func (s *Server) Connect(options ...nats.Option) *nats.Conn {
	s.tb.Helper()
	own := append(slices.Clone(s.client), nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond))
	nc, err := nats.Connect(s.URL, append(own, options...)...)
	if err != nil {
		s.tb.Fatalf("connect to the test server: %v", err)
	}
	s.tb.Cleanup(nc.Close)
	return nc
}

func writeConfig(tb testing.TB, s *Server, options Options, more string) string {
	tb.Helper()
	dir := tb.TempDir()
	interval := "2m"
	if options.SyncAlways {
		interval = "always"
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "listen: \"127.0.0.1:%d\"\n", s.port)
	if s.Token != "" {
		fmt.Fprintf(&b, "authorization { token: %q }\n", s.Token)
	}
	b.WriteString(options.Config + "\n" + more + "\n")
	if options.MaxPayload > 0 {
		fmt.Fprintf(&b, "max_payload: %d\n", options.MaxPayload)
	}
	fmt.Fprintf(&b, "jetstream {\n  store_dir: %q\n  sync_interval: %s\n", filepath.Join(dir, "data"), interval)
	if options.MaxStore > 0 {
		fmt.Fprintf(&b, "  max_file_store: %d\n", options.MaxStore)
	}
	b.WriteString("}\n")
	path := filepath.Join(dir, "nats.conf")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		tb.Fatal(err)
	}
	return path
}

func freePort(tb testing.TB) int {
	tb.Helper()
	var config net.ListenConfig
	listener, err := config.Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatalf("find a free port: %v", err)
	}
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		tb.Fatal(err)
	}
	if err := listener.Close(); err != nil {
		tb.Fatal(err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		tb.Fatal(err)
	}
	return number
}

// launch starts the process and waits until it answers or has ended.
func (s *Server) launch() error {
	cmd := exec.CommandContext(context.Background(), s.binary, "-c", s.config)
	cmd.Stdout, cmd.Stderr = s.output, s.output
	dieWithParent(cmd)
	exited, started := make(chan struct{}), make(chan error, 1)
	go func() {
		// The parent-death signal follows the thread that forked, so that thread
		// has to live as long as the child.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(exited)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // Killing it is how it normally ends.
		}
	}()
	if err := <-started; err != nil {
		return err
	}
	s.mu.Lock()
	s.cmd, s.exited = cmd, exited
	s.mu.Unlock()
	return s.awaitPort(exited)
}

func (s *Server) awaitPort(exited <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	var dialer net.Dialer
	for {
		if conn, err := dialer.DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", s.port)); err == nil && s.answersAt(conn) {
			return nil
		}
		select {
		case <-exited:
			return fmt.Errorf("nats-server ended at its start: %s", s.output.String())
		case <-ctx.Done():
			return fmt.Errorf("nats-server does not listen: %s", s.output.String())
		case <-tick.C:
		}
	}
}

// answersAt reports whether this server is at the other end, and closes the
// connection. Another one that took the port first would answer as well; the
// first line of each tells who it is.
func (s *Server) answersAt(conn net.Conn) bool {
	defer conn.Close() //nolint:errcheck // it was only looked at
	if err := conn.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return false
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	return err == nil && strings.Contains(line, fmt.Sprintf("%q", s.name))
}

// awaitReady waits until JetStream answers: after a kill it recovers its
// streams while the port is already open.
func (s *Server) awaitReady() {
	s.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	nc, err := nats.Connect(s.URL, append(slices.Clone(s.client), nats.Timeout(5*time.Second))...)
	if err != nil {
		s.tb.Fatalf("nats-server does not answer: %v: %s", err, s.output.String())
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		s.tb.Fatal(err)
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		// A member that knows no leader yet does not answer at all.
		if err = answers(ctx, js); err == nil {
			return
		}
		if ctx.Err() != nil {
			s.tb.Fatalf("JetStream does not answer: %v: %s", err, s.output.String())
		}
		<-tick.C
	}
}

func answers(ctx context.Context, js jetstream.JetStream) error {
	ctx, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	_, err := js.AccountInfo(ctx)
	return err
}

func (s *Server) stop() { s.end(syscall.SIGKILL) }

func (s *Server) end(signal syscall.Signal) {
	s.mu.Lock()
	cmd, exited := s.cmd, s.exited
	s.cmd = nil
	s.mu.Unlock()
	if cmd == nil {
		return
	}
	if err := cmd.Process.Signal(signal); err != nil {
		s.tb.Logf("end nats-server: %v", err)
	}
	<-exited
}

// lockedBuffer keeps the server's log for failure messages.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	const tail = 4 << 10
	b := l.b.Bytes()
	return string(b[max(0, len(b)-tail):])
}
