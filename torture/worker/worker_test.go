package worker

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/redrive-dev/redrive/torture/scenario"
)

func TestConfigTravelsInTheEnvironment(t *testing.T) {
	c := Config{
		Broker:  Connection{Type: TypeNATS, URL: "u", Options: map[string]string{OptionDataDir: "d"}},
		Journal: "j", Outage: "o", Scenario: scenario.Scenario{Seed: 7, Mix: scenario.Harsh}, Mutant: "m", Name: "n",
	}
	variable, err := c.Environment()
	if err != nil {
		t.Fatal(err)
	}
	raw, ok := strings.CutPrefix(variable, Variable+"=")
	var got Config
	if err := json.Unmarshal([]byte(raw), &got); !ok || err != nil {
		t.Fatalf("%q: %v", variable, err)
	}
	if diff := cmp.Diff(c, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestConnectReadsTheDataDirectory(t *testing.T) {
	dir := t.TempDir()
	c := Connection{Type: TypeNATS, Options: map[string]string{OptionDataDir: dir}}
	if _, err := c.Connect(t.Context()); err == nil {
		t.Error("connected to a directory without a broker")
	}
	for name, text := range map[string]string{"nats.url": "nats://127.0.0.1:1\n", "nats.token": "secret\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for at, want := range map[string]string{"": "nats://127.0.0.1:1", "nats://127.0.0.1:2": "nats://127.0.0.1:2"} {
		c.URL = at
		if got, err := c.natsConfig(); err != nil || got.URL != want || got.Token != "secret" {
			t.Errorf("at %q: %q, %v", at, got.URL, err)
		}
	}
}

func TestConnectKnowsItsTypes(t *testing.T) {
	if _, err := (Connection{Type: "pigeon"}).Connect(t.Context()); err == nil || !strings.Contains(err.Error(), "pigeon") {
		t.Errorf("connected by %v", err)
	}
}
