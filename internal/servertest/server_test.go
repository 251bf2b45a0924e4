package servertest_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redrive-dev/redrive/internal/servertest"
)

func TestPrivateServerKeepsPortsAndConfigurationOverAKill(t *testing.T) {
	t.Parallel()
	server := servertest.Kafka(t, servertest.Options{Config: []string{"message.max.bytes=2000000"}})
	before, pid := server.URL, server.Settings["pid"]
	if !answers(t, server.URL) {
		t.Error("a started server does not answer")
	}
	server.Kill()
	if answers(t, server.URL) {
		t.Error("a killed server still answers")
	}
	server.Restart()
	if server.URL != before || server.Settings["pid"] == pid {
		t.Errorf("URL %s and process %s, want URL %s and another process than %s", server.URL, server.Settings["pid"], before, pid)
	}
	if !answers(t, server.URL) {
		t.Error("a restarted server does not answer")
	}
	properties, err := os.ReadFile(filepath.Join(server.Settings["dir"], "server.properties"))
	if err != nil || !strings.Contains(string(properties), "\nmessage.max.bytes=2000000\n") {
		t.Errorf("the added line is not in the configuration after the restart (%v):\n%s", err, properties)
	}
}

func TestKilledServerKeepsWhatItConfirmed(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"3.10", "4.0", "4.3"} {
		t.Run("rabbitmq-"+version, func(t *testing.T) {
			t.Parallel()
			server := servertest.RabbitMQ(t, version, servertest.Options{})
			if !strings.HasPrefix(server.Version, strings.TrimSuffix(version, "3")) {
				t.Errorf("it calls itself %s, want %s or, for 4.3, what is newer", server.Version, version)
			}
			api := server.Settings["management"] + "/api/"
			request(t, "PUT", api+"queues/%2F/kept", nil, `{"durable":true,"arguments":{"x-queue-type":"quorum"}}`)
			look := func() bool {
				got := request(t, "POST", api+"queues/%2F/kept/get", nil, `{"count":1,"ackmode":"ack_requeue_true","encoding":"base64"}`)
				return strings.Contains(got, base64.StdEncoding.EncodeToString([]byte("as it was")))
			}
			request(t, "POST", api+"exchanges/%2F/amq.default/publish", nil, message("kept", "as it was"))
			// The API does not wait for a confirmation, but what can be got is on disk.
			eventually(t, "the message", look)
			// A quorum queue itself is not on disk when its declaration is confirmed: that a
			// server has it is written about half a second later, and a queue of a server
			// that is killed before never answers again.
			names := filepath.Join(server.Settings["dir"], "srv", "data", "redrive@localhost", "quorum", "redrive@localhost", "names.dets")
			eventually(t, "the queue in "+names, func() bool {
				registered, err := os.ReadFile(names)
				return err == nil && bytes.Contains(registered, []byte("kept"))
			})
			server.Kill()
			server.Restart()
			// Its leader is elected anew, which takes a moment after the API answers.
			eventually(t, "the message after the kill", look)
		})
	}
	t.Run("elasticmq", func(t *testing.T) {
		t.Parallel()
		server := servertest.SQS(t, servertest.Options{})
		var queue struct{ QueueUrl string } //nolint:revive // the name that SQS gives it
		if err := json.Unmarshal([]byte(sqs(t, server.URL, "CreateQueue", `{"QueueName":"kept"}`)), &queue); err != nil {
			t.Fatal(err)
		}
		sqs(t, server.URL, "SendMessage", fmt.Sprintf(`{"QueueUrl":%q,"MessageBody":"as it was"}`, queue.QueueUrl))
		server.Kill()
		server.Restart()
		eventually(t, "the message", func() bool {
			return strings.Contains(sqs(t, server.URL, "ReceiveMessage", fmt.Sprintf(`{"QueueUrl":%q,"VisibilityTimeout":1}`, queue.QueueUrl)), "as it was")
		})
	})
}

// message is a persistent message as the management API takes it.
func message(queue, body string) string {
	return fmt.Sprintf(`{"properties":{"delivery_mode":2},"routing_key":%q,"payload":%q,"payload_encoding":"string"}`, queue, body)
}

func sqs(t *testing.T, address, action, body string) string {
	t.Helper()
	return request(t, "POST", address, http.Header{
		"X-Amz-Target": {"AmazonSQS." + action},
		"Content-Type": {"application/x-amz-json-1.0"},
	}, body)
}

// request returns what the server answers, nothing if it does not.
func request(t *testing.T, method, address string, header http.Header, body string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if header != nil {
		req.Header = header
	}
	if u, err := url.Parse(address); err == nil && u.User != nil {
		password, _ := u.User.Password()
		req.SetBasicAuth(u.User.Username(), password)
	}
	req.Close = true // a connection that is kept would be one to a killed server
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Logf("%s %s: %v", method, address, err)
		return ""
	}
	defer answer.Body.Close() //nolint:errcheck // it was read
	got, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Logf("%s %s: %v", method, address, err)
		return ""
	}
	if answer.StatusCode >= 300 {
		t.Logf("%s %s: %s: %s", method, address, answer.Status, got)
	}
	return string(got)
}

func TestUpTwiceIsOneServer(t *testing.T) {
	t.Parallel()
	server := servertest.SQS(t, servertest.Options{})
	run(t, "elasticmq", "up", "--instance", filepath.Base(server.Settings["dir"])[len("elasticmq@"):])
	server.Restart() // up, once more
	if pid := server.Settings["pid"]; !strings.Contains(run(t, "elasticmq", "env", "--instance", filepath.Base(server.Settings["dir"])[len("elasticmq@"):]), "\npid="+pid+"\n") {
		t.Errorf("another up made another process than %s", pid)
	}
}

func TestDownStopsOnlyItsOwn(t *testing.T) {
	t.Parallel()
	one, other := servertest.SQS(t, servertest.Options{}), servertest.SQS(t, servertest.Options{})
	name := filepath.Base(one.Settings["dir"])[len("elasticmq@"):]
	run(t, "elasticmq", "down", "--instance", name)
	if answers(t, strings.TrimPrefix(one.URL, "http://")) {
		t.Error("a server that is down answers")
	}
	if !answers(t, strings.TrimPrefix(other.URL, "http://")) {
		t.Error("another server went down with it")
	}

	// The process id that was the server's may be somebody else's by now.
	bystander := exec.CommandContext(t.Context(), "sleep", "600")
	if err := bystander.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = bystander.Process.Kill() // that it has to be killed is what is tested
		_ = bystander.Wait()
	}()
	if err := os.WriteFile(filepath.Join(one.Settings["dir"], "server.pid"), []byte(strconv.Itoa(bystander.Process.Pid)+" 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"down", "kill"} {
		run(t, "elasticmq", command, "--instance", name)
		var state bytes.Buffer
		ps := exec.CommandContext(t.Context(), "ps", "-o", "stat=", "-p", strconv.Itoa(bystander.Process.Pid))
		ps.Stdout = &state
		if err := ps.Run(); err != nil || strings.HasPrefix(state.String(), "Z") {
			t.Fatalf("%s ended a process that has the id which was the server's (%v, state %q)", command, err, state.String())
		}
	}
}

func TestServerEndsWithItsOwner(t *testing.T) {
	t.Parallel()
	servertest.SQS(t, servertest.Options{Shared: true}) // skips where there is none
	owner := exec.CommandContext(t.Context(), "sleep", "600")
	if err := owner.Start(); err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("owned-%d", os.Getpid())
	t.Cleanup(func() { run(t, "elasticmq", "remove", "--instance", name) })
	run(t, "elasticmq", "up", "--instance", name, "--owner", strconv.Itoa(owner.Process.Pid))
	env := run(t, "elasticmq", "env", "--instance", name)
	_, dir, _ := strings.Cut(env, "\ndir=")
	dir, _, _ = strings.Cut(dir, "\n")
	if _, err := os.Stat(dir); err != nil {
		t.Fatal(err)
	}
	if err := owner.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = owner.Wait() // it was killed
	eventually(t, "the end of the server and of its directory", func() bool {
		_, err := os.Stat(dir)
		return os.IsNotExist(err)
	})
}

func TestInstanceIsGoneWithItsDataAfterStop(t *testing.T) {
	t.Parallel()
	servertest.SQS(t, servertest.Options{Shared: true}) // skips where there is none
	instance, err := servertest.NewInstance(servertest.KindSQS, servertest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := instance.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	address, dir := strings.TrimPrefix(instance.URL, "http://"), instance.Settings["dir"]
	if err := instance.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if answers(t, address) {
		t.Error("a stopped server answers")
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("its directory: %v, want none", err)
	}
}

func TestSharedServerIsTheOneThatAVariableNames(t *testing.T) {
	t.Setenv("REDRIVE_RABBITMQ_4_0_URL", "amqp://elsewhere/")
	t.Setenv("REDRIVE_RABBITMQ_4_0_MANAGEMENT", "http://elsewhere")
	server := servertest.RabbitMQ(t, "4.0", servertest.Options{Shared: true})
	if server.URL != "amqp://elsewhere/" || server.Settings["management"] != "http://elsewhere" {
		t.Errorf("got %+v", server)
	}
}

// run runs a program of e2e/servers and returns what it prints.
func run(t *testing.T, program string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join("..", "..", "e2e", "servers", program), args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v: %s", program, args, err, stderr.String())
	}
	return string(out)
}

func answers(t *testing.T, address string) bool {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
	if err != nil {
		return false
	}
	_ = conn.Close() // it was only looked at
	return true
}

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(4 * time.Minute)
	for !done() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s does not come", what)
		}
	}
}
