package servertest_test

import (
	"context"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/redrive-dev/redrive/internal/servertest"
)

func TestKilledServerComesBackWhereItWas(t *testing.T) {
	server := servertest.Kafka(t, servertest.Options{Config: []string{"message.max.bytes=2000000"}})
	before, pid := server.URL, server.Settings["pid"]
	connect(t, server.URL)
	server.Kill()
	if conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", server.URL); err == nil {
		_ = conn.Close()
		t.Error("a killed server still answers")
	}
	server.Restart()
	if server.URL != before || server.Settings["pid"] == pid {
		t.Errorf("URL %s and process %s, want URL %s and another process than %s", server.URL, server.Settings["pid"], before, pid)
	}
	connect(t, server.URL)
	properties, err := os.ReadFile(server.Settings["dir"] + "/server.properties")
	if err != nil || !strings.Contains(string(properties), "\nmessage.max.bytes=2000000\n") {
		t.Errorf("the added line is not in the configuration after the restart (%v):\n%s", err, properties)
	}
}

func connect(t *testing.T, address string) {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatalf("the server does not answer: %v", err)
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
}

func TestInstanceIsGoneWithItsDataAfterStop(t *testing.T) {
	if os.Getenv("REDRIVE_REQUIRE_SERVERS") != "1" {
		servertest.Kafka(t, servertest.Options{Shared: true}) // skips where there is none
	}
	instance, err := servertest.NewInstance(servertest.KindKafka, servertest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := instance.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := instance.Stop(context.WithoutCancel(t.Context())); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(instance.Settings["dir"]); !os.IsNotExist(err) {
		t.Errorf("its directory: %v, want none", err)
	}
}
