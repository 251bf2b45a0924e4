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
	c := Config{DataDir: "d", Journal: "j", Outage: "o", Scenario: scenario.Scenario{Seed: 7, Mix: scenario.Harsh}, Mutant: "m", Name: "n"}
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
	if _, err := Connect(dir, ""); err == nil {
		t.Error("connected to a directory without a broker")
	}
	for name, text := range map[string]string{"nats.url": "nats://127.0.0.1:1\n", "nats.token": "secret\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := Connect(dir, "")
	if err != nil || got.URL != "nats://127.0.0.1:1" || got.Token != "secret" {
		t.Errorf("got %q, %v", got.URL, err)
	}
}
