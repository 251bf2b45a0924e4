package redrivenats_test

import (
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redrive-dev/redrive/internal/natstest"
	"github.com/redrive-dev/redrive/redrivenats"
)

func ExampleConfig_Validate() {
	config := redrivenats.Config{Prefix: "team.a", Replicas: 7, Token: "t", User: "u"}.WithDefaults()
	fmt.Println(config.Validate())
	// Output:
	// redrivenats: Token, User, CredsFile, NKeyFile: 2 kinds of credentials are set, want at most one
	// redrivenats: Prefix: "team.a" must be 1 to 32 letters, digits or '-'
	// redrivenats: Replicas: 7 must be 1 to 5
}

func TestValidateNamesEveryField(t *testing.T) {
	config := redrivenats.Config{
		Password: "p", CredsFile: "missing.creds", NKeyFile: "missing.nk", Prefix: "a b", Replicas: -1,
		ConnectTimeout: -1, PublishTimeout: -1, PublishWindow: -1, MarkTTL: 1, MaxAckPending: -1,
	}
	err := config.WithDefaults().Validate()
	for _, field := range []string{"Password:", "CredsFile:", "NKeyFile:", "Prefix:", "Replicas:", "ConnectTimeout:", "PublishTimeout:", "PublishWindow:", "MarkTTL:", "MaxAckPending:"} {
		if err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%v does not name %s", err, field)
		}
	}
	if err := (redrivenats.Config{}).WithDefaults().Validate(); err != nil {
		t.Errorf("the defaults are not valid: %v", err)
	}
}

func TestConnectWithToken(t *testing.T) {
	server := natstest.Start(t, natstest.Options{})
	b, err := redrivenats.Connect(t.Context(), redrivenats.Config{URL: server.URL, Token: server.Token})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := b.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

func TestRefusedConnectKeepsSecrets(t *testing.T) {
	server := natstest.Start(t, natstest.Options{})
	file := filepath.Join(t.TempDir(), "user.nk")
	if err := os.WriteFile(file, []byte("SU-hunter2-is-no-seed"), 0o600); err != nil {
		t.Fatal(err)
	}
	withUser := strings.Replace(server.URL, "nats://", "nats://somebody:hunter2@", 1)
	for name, config := range map[string]redrivenats.Config{
		"Token":    {URL: server.URL, Token: "hunter2"},
		"User":     {URL: server.URL, User: "somebody", Password: "hunter2"},
		"URL":      {URL: withUser},
		"NKeyFile": {URL: server.URL, NKeyFile: file},
		"TLS":      {URL: server.URL, Token: "hunter2", TLS: &tls.Config{MinVersion: tls.VersionTLS13}},
	} {
		config.ConnectTimeout = 2 * time.Second
		b, err := redrivenats.Connect(t.Context(), config)
		if err == nil {
			t.Errorf("%s: connected as %v", name, b)
			continue
		}
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %q tells a secret", name, err)
		}
	}
}
