//go:build unix

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// patience bounds what a test waits for; it is reached only when it fails.
const patience = 60 * time.Second

// process is a redrive that runs until it is stopped.
type process struct {
	cmd  *exec.Cmd
	log  *bufio.Scanner
	seen []string
}

// start runs the program, whose configuration is dir/redrive.yaml.
func start(t *testing.T, dir string, args ...string) *process {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, "redrive", append(args, "--log-format", "json")...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_CONFIG_HOME=")
	stderr, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		// It has ended, unless the test failed.
		_ = cmd.Process.Kill()
	})
	return &process{cmd: cmd, log: bufio.NewScanner(stderr)}
}

// await reads the log up to a message and returns that record.
func (p *process) await(t *testing.T, message string) map[string]any {
	t.Helper()
	for p.log.Scan() {
		p.seen = append(p.seen, p.log.Text())
		var record map[string]any
		if json.Unmarshal(p.log.Bytes(), &record) == nil && record["msg"] == message {
			return record
		}
	}
	require.Fail(t, "the log ended", "without %q:\n%s", message, strings.Join(p.seen, "\n"))
	return nil
}

// stop sends a signal and returns the exit code and the rest of the log.
func (p *process) stop(t *testing.T, signal os.Signal) (int, string) {
	t.Helper()
	require.NoError(t, p.cmd.Process.Signal(signal))
	var rest []string
	for p.log.Scan() {
		rest = append(rest, p.log.Text())
	}
	_ = p.cmd.Wait() // The exit code says it.
	return p.cmd.ProcessState.ExitCode(), strings.Join(rest, "\n")
}

// text returns what an address of the process answers.
func text(t *testing.T, url string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	require.NoError(t, err)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(body)
}

const sinkConfig = `version: 1
admin: {listen: "127.0.0.1:0"}
brokers: {local: {type: embedded, sync: default, max_store: 256MiB}}
subscriptions:
  - {source: orders, handler: {sink: discard}}
`

func folder(t *testing.T, config string) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "redrive.yaml"), []byte(config), 0o600))
	return dir
}

// command runs a command to its end.
func command(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "redrive", args...)
	cmd.Dir, cmd.Env = dir, withoutOurs(os.Environ()) // Else it warns of what tests are told.
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	return string(out)
}

func TestUpUntilTerminated(t *testing.T) {
	t.Parallel()
	dir := folder(t, sinkConfig)
	up := start(t, dir, "up")
	address := up.await(t, "ready")["address"].(string)
	status, body := text(t, "http://"+address+"/readyz")
	require.Equal(t, http.StatusOK, status, body)
	require.Contains(t, command(t, dir, "queue", "ls"), "orders.dlq")

	// A second one over the same data is told whose it is; workers alone join in.
	second := start(t, dir, "up")
	code, _ := second.stop(t, syscall.Signal(0))
	require.Equal(t, 1, code)
	workers := start(t, dir, "run")
	workers.await(t, "ready")
	code, rest := workers.stop(t, syscall.SIGTERM)
	require.Equal(t, 0, code, rest)

	// SIGHUP says what a restart would change, and changes nothing.
	require.NoError(t, up.cmd.Process.Signal(syscall.SIGHUP))
	require.EqualValues(t, 0, up.await(t, "the configuration is valid and unchanged")["changes"])
	file := filepath.Join(dir, "redrive.yaml")
	require.NoError(t, os.WriteFile(file, []byte(sinkConfig+"    retry: {attempts: 7}\n"), 0o600))
	require.NoError(t, up.cmd.Process.Signal(syscall.SIGHUP))
	up.await(t, "the configuration cannot be used; the old one stays in force")
	require.NoError(t, os.WriteFile(file, []byte(sinkConfig+"log: {level: warn}\n"), 0o600))
	require.NoError(t, up.cmd.Process.Signal(syscall.SIGHUP))
	require.Equal(t, "log.level", up.await(t, "setting differs")["setting"])
	up.await(t, "the configuration is valid; restart to apply it, until then the old one is in force")

	code, rest = up.stop(t, syscall.SIGTERM)
	require.Equal(t, 0, code, rest)
	require.Contains(t, rest, `"msg":"stopped"`)
}

func TestUpUntilInterrupted(t *testing.T) {
	t.Parallel()
	up := start(t, folder(t, sinkConfig), "up")
	up.await(t, "ready")
	code, rest := up.stop(t, os.Interrupt)
	require.Equal(t, 130, code, rest)
	require.Contains(t, rest, `"msg":"stopped"`)
	require.Contains(t, rest, "error: interrupted")
}

// The second signal ends the process at once, whatever a handler still does.
func TestSecondSignal(t *testing.T) {
	t.Parallel()
	called := make(chan struct{}, 1)
	release := make(chan struct{})
	server := endpoint(t, func(http.ResponseWriter, *http.Request) {
		called <- struct{}{}
		<-release
	})
	t.Cleanup(func() { close(release) })
	dir := folder(t, strings.Replace(sinkConfig, "sink: discard", `http: {url: "`+server+`"}`, 1))
	up := start(t, dir, "up")
	up.await(t, "ready")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "o.ndjson"), []byte("{}\n"), 0o600))
	command(t, dir, "publish", "orders", "-f", "o.ndjson")
	<-called
	require.NoError(t, up.cmd.Process.Signal(syscall.SIGTERM))
	up.await(t, "stopping")
	_, rest := up.stop(t, syscall.SIGTERM)
	require.Equal(t, syscall.SIGTERM, up.cmd.ProcessState.Sys().(syscall.WaitStatus).Signal())
	require.NotContains(t, rest, `"msg":"stopped"`)
	require.Contains(t, command(t, dir, "queue", "ls", "-o", "json", "--jq", `.[] | select(.name == "orders") | .depth`), "1", "the message is where it was")
}

// endpoint serves a handler on the loopback address and returns its URL.
func endpoint(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return server.URL
}
