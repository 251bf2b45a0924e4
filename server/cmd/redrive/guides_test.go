//go:build unix

package main

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/redrive-dev/redrive/internal/servertest"
)

// TestGuides runs the guides command by command: the program is on the PATH, and
// so are a NATS server and the Go toolchain, which finds this checkout under the
// name that readers use.
func TestGuides(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"quickstart.md", "http.md", "nats.md", "kafka.md", "rabbitmq.md", "sqs.md", "backup.md"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "guides", name))
			require.NoError(t, err)
			g, err := parseGuide(string(text))
			require.NoError(t, err)
			if strings.Contains(string(text), "python3 ") {
				needs(t, "python3")
			}
			r := newReader(t, string(text))
			run := 0
			for _, s := range g.steps {
				if s.omit != "" {
					t.Logf("line %d is not run: %s", s.line, s.omit)
					continue
				}
				run++
				r.follow(s)
			}
			require.Positive(t, run, "the guide has no command")
		})
	}
}

// withoutOurs leaves out settings of redrive's tests, which a reader does not have
// and the program warns about.
func withoutOurs(environ []string) []string {
	return slices.DeleteFunc(environ, func(line string) bool { return strings.HasPrefix(line, "REDRIVE_") })
}

// needs tells in one line that a program is missing; where everything is required,
// that is a failure.
func needs(t *testing.T, program string) {
	t.Helper()
	_, err := exec.LookPath(program)
	switch {
	case err == nil:
	case os.Getenv("REDRIVE_REQUIRE_SERVERS") == "1":
		t.Fatalf("%s is required by REDRIVE_REQUIRE_SERVERS=1: %v", program, err)
	default:
		t.Skipf("%s cannot be had: %v", program, err)
	}
}

// reader follows one guide in a folder of its own.
type reader struct {
	t          *testing.T
	dir, home  string
	env        []string
	ports      *strings.Replacer
	background []*terminal
}

// fixedPorts are those that guides name. The machine may use them, so that each
// run gets others in their place.
var fixedPorts = []string{"8080", "9090", "4222"}

func newReader(t *testing.T, text string) *reader {
	t.Helper()
	r := &reader{t: t, dir: t.TempDir(), home: t.TempDir()}
	pairs := servers(t, text)
	free := map[string]string{}
	for _, port := range fixedPorts {
		free[port] = freePort(t)
		pairs = append(pairs, port, free[port])
	}
	r.ports = strings.NewReplacer(pairs...)
	r.env = append(withoutOurs(os.Environ()),
		"HOME="+r.home, "XDG_CONFIG_HOME=", "REDRIVE_ADMIN_LISTEN=127.0.0.1:"+free["9090"],
	)
	if strings.Contains(text, "nats-server ") {
		r.env = append(r.env, "PATH="+tools(t)+string(os.PathListSeparator)+os.Getenv("PATH"), "NATS_PORT="+free["4222"])
	}
	if strings.Contains(text, "go run ") {
		// Trimmed paths let builds of other runs be used again.
		r.env = append(r.env, "GOWORK=off", "GOFLAGS=-trimpath", "GOSUMDB=off", "GOTOOLCHAIN=local",
			"GOMODCACHE="+filepath.Join(r.home, "modules"), "GOCACHE="+goEnv(t, "GOCACHE"), "GOPROXY="+proxy(t))
	}
	// Modules are read-only, which keeps the folder from being removed.
	t.Cleanup(func() { require.NoError(t, makeWritable(r.home)) })
	t.Cleanup(func() {
		for len(r.background) > 0 {
			r.stop()
		}
	})
	return r
}

// servers starts the servers that a guide takes for granted and returns their ports
// after those that the guide names.
func servers(t *testing.T, text string) []string {
	t.Helper()
	port := func(address string) string {
		if u, err := url.Parse(address); err == nil && u.Port() != "" {
			return u.Port()
		}
		_, port, err := net.SplitHostPort(address)
		require.NoError(t, err)
		return port
	}
	switch {
	case strings.Contains(text, "127.0.0.1:9092"):
		return []string{"9092", port(servertest.Kafka(t, servertest.Options{}).URL)}
	case strings.Contains(text, "127.0.0.1:15672"):
		s := servertest.RabbitMQ(t, "4.3", servertest.Options{})
		return []string{"15672", port(s.Settings["management"]), "5672", port(s.URL)}
	case strings.Contains(text, "127.0.0.1:9324"):
		return []string{"9324", port(servertest.SQS(t, servertest.Options{}).URL)}
	}
	return nil
}

func (r *reader) follow(s step) {
	r.t.Helper()
	body := r.ports.Replace(s.body)
	switch {
	case s.stop:
		require.NotEmpty(r.t, r.background, "line %d: nothing runs in the background", s.line)
		r.stop()
	case s.file != "":
		name := filepath.Join(r.where(), s.file)
		require.NoError(r.t, os.MkdirAll(filepath.Dir(name), 0o700))
		require.NoError(r.t, os.WriteFile(name, []byte(body), 0o600))
	case s.until != "":
		r.start(s, body)
	default:
		r.run(s, body)
	}
}

// run runs a block to its end and compares what it prints.
func (r *reader) run(s step, body string) {
	r.t.Helper()
	want := r.ports.Replace(s.want)
	deadline := time.Now().Add(patience)
	for {
		out, code := r.shell(body)
		good := code == s.exit && (!s.has || matches(want, out))
		if good {
			return
		}
		if !s.eventually || time.Now().After(deadline) {
			var others strings.Builder
			for _, b := range r.background {
				fmt.Fprintf(&others, "--- in the background, since line %d:\n%s", b.line, b.output())
			}
			require.Fail(r.t, "the guide does not work", "line %d: exit code %d, want %d\n%s--- it printed:\n%s--- the guide shows:\n%s%s",
				s.line, code, s.exit, body, out, want, others.String())
		}
		<-time.After(200 * time.Millisecond) // Looked at again, as a reader would.
	}
}

const keepState = `trap 'pwd > "$GUIDE_STATE/cwd"; export -p > "$GUIDE_STATE/env"' EXIT
`

// shell runs commands where the ones before ended, and returns what they print.
func (r *reader) shell(body string) (string, int) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-e", "-o", "pipefail", "-c", keepState+r.before()+body)
	cmd.Dir, cmd.Env = r.where(), append(r.env, "GUIDE_STATE="+r.home)
	out, err := cmd.CombinedOutput()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		require.NoError(r.t, err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// where is the working directory that the last block ended in.
func (r *reader) where() string {
	b, err := os.ReadFile(filepath.Join(r.home, "cwd"))
	if err != nil {
		return r.dir
	}
	return strings.TrimSpace(string(b))
}

// before brings the exported variables back.
func (r *reader) before() string {
	if _, err := os.Stat(filepath.Join(r.home, "env")); err != nil {
		return ""
	}
	return `. "$GUIDE_STATE/env"` + "\n"
}

// terminal is a command that goes on.
type terminal struct {
	line  int
	cmd   *exec.Cmd
	ended chan struct{}

	mu  sync.Mutex
	out bytes.Buffer
}

// Write implements io.Writer.
func (b *terminal) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.out.Write(p)
}

func (b *terminal) output() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.out.String()
}

func (r *reader) start(s step, body string) {
	r.t.Helper()
	b := &terminal{line: s.line, ended: make(chan struct{})}
	// It outlives the block, and ends with the guide.
	b.cmd = exec.CommandContext(context.WithoutCancel(r.t.Context()), "bash", "-e", "-c", r.before()+body)
	b.cmd.Dir, b.cmd.Env = r.where(), append(r.env, "GUIDE_STATE="+r.home)
	b.cmd.Stdout, b.cmd.Stderr = b, b
	b.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	require.NoError(r.t, b.cmd.Start())
	go func() {
		defer close(b.ended)
		_ = b.cmd.Wait() // What it prints says what went wrong.
	}()
	r.background = append(r.background, b)
	until := r.ports.Replace(s.until)
	require.Eventually(r.t, func() bool {
		select {
		case <-b.ended:
			return true
		default:
			return strings.Contains(b.output(), until)
		}
	}, patience, 20*time.Millisecond, "line %d never printed %q", s.line, until)
	require.Contains(r.t, b.output(), until, "line %d ended", s.line)
}

// stop ends the last background command as Ctrl-C does, which reaches everything
// that it started.
func (r *reader) stop() {
	last := r.background[len(r.background)-1]
	r.background = r.background[:len(r.background)-1]
	_ = syscall.Kill(-last.cmd.Process.Pid, syscall.SIGINT) // It may have ended already.
	select {
	case <-last.ended:
	case <-time.After(patience):
		_ = syscall.Kill(-last.cmd.Process.Pid, syscall.SIGKILL)
		<-last.ended
		r.t.Errorf("line %d did not end with Ctrl-C:\n%s", last.line, last.output())
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	var config net.ListenConfig
	l, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	_, port, err := net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	require.NoError(t, l.Close())
	return port
}

func makeWritable(dir string) error {
	return filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			return os.Chmod(name, 0o700)
		}
		return err
	})
}

func goEnv(t *testing.T, name string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "env", name).Output()
	require.NoError(t, err)
	return strings.TrimSpace(string(out))
}

// tools is a folder with a NATS server of the version that redrive embeds. Its
// port is that of the guide's run, unless the command names one.
func tools(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	server := filepath.Join(dir, "nats-server.real")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", server, "github.com/nats-io/nats-server/v2")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "build a nats-server: %s", out)
	script := "#!/bin/sh\nexec " + strconv.Quote(server) + ` --addr 127.0.0.1 --port "$NATS_PORT" "$@"` + "\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "nats-server"), []byte(script), 0o700))
	return dir
}

// proxy serves this checkout as the newest version of the library, and everything
// else from the module cache, so that readers' commands work unchanged.
func proxy(t *testing.T) string {
	t.Helper()
	const module, version = "github.com/redrive-dev/redrive", "v0.9999.0"
	dir := t.TempDir()
	files := filepath.Join(dir, filepath.FromSlash(module), "@v")
	require.NoError(t, os.MkdirAll(files, 0o700))
	mod, err := os.ReadFile(filepath.Join("..", "..", "..", "go.mod"))
	require.NoError(t, err)
	put := func(name string, b []byte) { require.NoError(t, os.WriteFile(filepath.Join(files, name), b, 0o600)) }
	put("list", []byte(version+"\n"))
	put(version+".info", fmt.Appendf(nil, `{"Version":%q,"Time":"2026-01-01T00:00:00Z"}`, version))
	put(version+".mod", mod)
	put(version+".zip", zipped(t, filepath.Join("..", "..", ".."), module+"@"+version+"/"))
	return "file://" + dir + ",file://" + filepath.Join(goEnv(t, "GOMODCACHE"), "cache", "download") + ",off"
}

// zipped packs the Go files of the library.
func zipped(t *testing.T, root, prefix string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	require.NoError(t, filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil || rel == "." {
			return err
		}
		if d.IsDir() {
			if _, err := os.Stat(filepath.Join(name, "go.mod")); err == nil || strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(rel, ".go") && rel != "go.mod" && rel != "LICENSE" || strings.HasSuffix(rel, "_test.go") {
			return nil
		}
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		f, err := w.Create(prefix + filepath.ToSlash(rel))
		if err != nil {
			return err
		}
		_, err = f.Write(b)
		return err
	}))
	require.NoError(t, w.Close())
	return out.Bytes()
}

// A guide that shows something else than what is printed, or a command that does
// not work, is found.
func TestGuidesAreCompared(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		want, got string
		same      bool
	}{
		{"a\nb\n", "a\nb", true},
		{"a\nb\n", "a\n", false},
		{"a\n", "a\nb\n", false},
		{"took … ms\n", "took 17 ms\n", true},
		{"took … ms\n", "took 17 s\n", false},
		{"a…\n", "a\nb\n", false},
		{"…\nlast\n", "one\ntwo\nlast\n", true},
		{"first\n…\n", "first\ntwo\nthree\n", true},
		{"(a)  b \n", "(a)  b\n", true},
	} {
		require.Equal(t, tt.same, matches(tt.want, tt.got), "%q, %q", tt.want, tt.got)
	}
	g, err := parseGuide("<!-- file: x.py -->\n```python\nx\n```\n<!-- run: background until ready -->\n```sh\nup\n```\n" +
		"```yaml\na: b\n```\n```sh\nls\n```\nIt says:\n```text\ny\n```\n```text\nz\n```\n<!-- stop -->\n<!-- run: exit 7 -->\n```sh\nbad\n```\n# Next\n```text\nw\n```\n")
	require.NoError(t, err)
	require.Equal(t, []step{
		{line: 2, file: "x.py", body: "x\n"},
		{line: 6, body: "up\n", until: "ready"},
		{line: 12, body: "ls\n", want: "y\n", has: true},
		{line: 22, stop: true},
		{line: 24, body: "bad\n", exit: 7},
	}, g.steps)
	_, err = parseGuide("<!-- run: now and then -->\n```sh\nls\n```\n")
	require.ErrorContains(t, err, "not understood")
	_, err = parseGuide("<!-- run: eventually -->\n```yaml\nls\n```\n")
	require.ErrorContains(t, err, "not run")
}

// Every whole program in the README and the guides compiles against this
// checkout, and go vet has nothing to say about it.
func TestProgramsInDocumentsCompile(t *testing.T) {
	t.Parallel()
	root, err := filepath.Abs(filepath.Join("..", "..", ".."))
	require.NoError(t, err)
	documents, err := filepath.Glob(filepath.Join(root, "docs", "guides", "*.md"))
	require.NoError(t, err)
	dir, programs := t.TempDir(), 0
	for _, document := range append(documents, filepath.Join(root, "README.md")) {
		text, err := os.ReadFile(document)
		require.NoError(t, err)
		for _, f := range fences(string(text)) {
			if f.language != "go" || !strings.HasPrefix(f.body, "package main\n") {
				continue
			}
			programs++
			to := filepath.Join(dir, fmt.Sprintf("%s-%d", strings.TrimSuffix(filepath.Base(document), ".md"), f.line))
			require.NoError(t, os.Mkdir(to, 0o700))
			require.NoError(t, os.WriteFile(filepath.Join(to, "main.go"), []byte(f.body), 0o600))
		}
	}
	require.GreaterOrEqual(t, programs, 4)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module documents\n\ngo 1.26.0\n"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go.work"), fmt.Appendf(nil, "go 1.26.0\n\nuse (\n\t.\n\t%q\n)\n", root), 0o600))
	cmd := exec.CommandContext(t.Context(), "go", "vet", "./...")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "GOWORK="+filepath.Join(dir, "go.work"), "GOFLAGS=")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
}
