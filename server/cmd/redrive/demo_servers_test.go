//go:build unix

package main

import (
	"bufio"
	"encoding/json"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/redrive-dev/redrive/internal/servertest"
)

// visit is a server that the demo runs on.
type visit struct {
	name string
	// start starts it and returns the flags that lead there and the environment.
	start func(t *testing.T) (flags, environ []string)
}

func visits() []visit {
	out := []visit{
		{"nats", func(t *testing.T) ([]string, []string) {
			t.Helper()
			return []string{"--broker", "nats", "--url", natsServer(t)}, nil
		}},
		{"kafka", func(t *testing.T) ([]string, []string) {
			t.Helper()
			return []string{"--broker", "kafka", "--url", servertest.Kafka(t, servertest.Options{Shared: true}).URL}, nil
		}},
		{"sqs", func(t *testing.T) ([]string, []string) {
			t.Helper()
			server := servertest.SQS(t, servertest.Options{Shared: true})
			return []string{"--broker", "sqs", "--url", server.URL}, anyCredentials()
		}},
		{"rabbitmq-4.3", rabbitVisit("4.3")},
	}
	if os.Getenv("REDRIVE_FULL") == "1" {
		out = append(out, visit{"rabbitmq-4.0", rabbitVisit("4.0")}, visit{"rabbitmq-3.10", rabbitVisit("3.10")})
	}
	return out
}

func rabbitVisit(version string) func(t *testing.T) (flags, environ []string) {
	return func(t *testing.T) ([]string, []string) {
		t.Helper()
		server := servertest.RabbitMQ(t, version, servertest.Options{Shared: true})
		return []string{"--broker", "rabbitmq", "--url", server.URL, "--management-url", withoutUser(t, server.Settings["management"])}, nil
	}
}

// anyCredentials are what ElasticMQ takes.
func anyCredentials() []string {
	return []string{"AWS_ACCESS_KEY_ID=any", "AWS_SECRET_ACCESS_KEY=any", "AWS_REGION=elasticmq"}
}

func withoutUser(t *testing.T, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	require.NoError(t, err)
	u.User = nil
	return u.String()
}

// TestDemoOnServers runs the demo on each real server, twice: the second run sees
// nothing of the first one.
func TestDemoOnServers(t *testing.T) {
	t.Parallel()
	for _, v := range visits() {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			flags, environ := v.start(t)
			for _, seed := range []string{"1", "2"} {
				balances(t, append(flags, "--seed", seed), environ)
			}
		})
	}
}

// balances runs the demo with flags and checks its account.
func balances(t *testing.T, flags, environ []string) {
	t.Helper()
	args := append([]string{"demo", "--once", "--messages", "600", "--outage-at", "1s", "--outage", "2s", "--timeout", "4m", "-o", "json"}, flags...)
	cmd := exec.CommandContext(t.Context(), "redrive", args...)
	cmd.Dir, cmd.Env = t.TempDir(), append(withoutOurs(os.Environ()), environ...)
	var log strings.Builder
	cmd.Stderr = &log
	out, err := cmd.Output()
	require.NoError(t, err, "%s\n%s", log.String(), out)
	var account struct {
		Published, Handled, Lost, Pending int
		Balanced, Settled                 bool
		Quarantined                       map[string]int
	}
	require.NoError(t, json.Unmarshal(out, &account), "%s", out)
	require.True(t, account.Balanced && account.Settled, "%s", out)
	require.Equal(t, 600, account.Published, "%s", out)
	require.Positive(t, account.Handled, "%s", out)
	require.Equal(t, 2, account.Quarantined["crash"], "the order that kills its process is found here too: %s", out)
}

// natsServer runs a NATS server in a process of its own and returns its URL.
func natsServer(t *testing.T) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(tools(t), "nats-server.real"),
		"--addr", "127.0.0.1", "--port", "-1", "--jetstream", "--store_dir", t.TempDir())
	// With the test's context the server is asked to stop, so that it writes its last.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	stderr, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	found := make(chan string, 1)
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		lines := bufio.NewScanner(stderr)
		for lines.Scan() {
			if _, address, ok := strings.Cut(lines.Text(), "Listening for client connections on "); ok {
				found <- "nats://" + address
			}
		}
	}()
	t.Cleanup(func() {
		<-drained
		_ = cmd.Wait() // It was told to end.
	})
	select {
	case url := <-found:
		return url
	case <-time.After(patience):
		require.Fail(t, "the NATS server does not listen")
		return ""
	}
}
