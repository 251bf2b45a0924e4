package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"github.com/redrive-dev/redrive/server/internal/config"
)

const (
	source = ".."
	target = "../../../../docs/reference"
)

func TestDocumentsAreCurrent(t *testing.T) {
	t.Parallel()
	if err := run(source, target, true); err != nil {
		t.Error(err)
	}
}

func TestCheckSeesAChange(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := run(source, dir, true); err == nil {
		t.Error("missing documents are taken for current")
	}
	if err := run(source, dir, false); err != nil {
		t.Fatal(err)
	}
	if err := run(source, dir, true); err != nil {
		t.Errorf("just written: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "configuration.md"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run(source, dir, true); err == nil || !strings.Contains(err.Error(), "configuration.md is out of date") {
		t.Errorf("changed: %v", err)
	}
}

func TestCommentsAndTagsAgree(t *testing.T) {
	t.Parallel()
	texts, err := readComments(source)
	if err != nil {
		t.Fatal(err)
	}
	texts["Log.Level"] = "Level is one. Default: loud."
	texts["Log.Format"] = ""
	texts["Broker.URL"] += " Default: x."
	err = texts.check()
	for _, want := range []string{"Log.Level: its comment must end", "Log.Format has no comment", "Broker.URL: its comment names a default"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
}

func compile(t *testing.T) *jsonschema.Schema {
	t.Helper()
	documents, err := generate(source)
	if err != nil {
		t.Fatal(err)
	}
	var doc any
	if err := json.Unmarshal(documents["redrive.schema.json"], &doc); err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	if err := c.AddResource("redrive.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("redrive.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// instance reads YAML as an editor hands it to a validator.
func instance(t *testing.T, text []byte) any {
	t.Helper()
	var v any
	if err := yaml.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	return plain(v)
}

func plain(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			v[k] = plain(v[k])
		}
	case map[any]any:
		out := map[string]any{}
		for k := range v {
			out[fmt.Sprint(k)] = plain(v[k])
		}
		return out
	case []any:
		for i := range v {
			v[i] = plain(v[i])
		}
	}
	return v
}

// TestSchemaAgreesWithTheDecoder holds the schema to what the program takes and
// refuses, for all that a schema can say.
func TestSchemaAgreesWithTheDecoder(t *testing.T) {
	t.Parallel()
	schema := compile(t)
	full, err := os.ReadFile("../testdata/full.yaml")
	if err != nil {
		t.Fatal(err)
	}
	const handler = "subscriptions: [{source: a, handler: {sink: discard}"
	good := []string{
		string(full), string(config.Template()), "version: 1", "version: 1\ndefaults:\nbrokers:\nsubscriptions:",
		"version: 1\n" + handler + ", retry: {max_age: 1d12h30m, base: 1.5s}}]",
	}
	bad := []string{
		"{}", "version: 2", "version: 1\nnope: 1", "version: 1\nlog: {level: loud}", "version: 1\ndefaults: {lease: 30}", "version: 1\ndefaults: {lease: x}",
		"version: 1\ndefaults: {concurrency: 0}", "version: 1\ndefaults: {breaker: {failure_rate: 0}}", "version: 1\ndefaults: {breaker: {failure_rate: -2}}",
		"version: 1\nbrokers: {a: {}}", "version: 1\nbrokers: {a: {type: nats}}", "version: 1\nbrokers: {a: {type: embedded, url: 'nats://x'}}",
		"version: 1\nbrokers: {a: {type: nats, url: 'nats://x', token: plain}}", "version: 1\nbrokers: {a: {type: nats, url: 'nats://x', token: {env: A, cmd: b}}}",
		"version: 1\nbrokers: {a: {type: embedded, max_store: 10}}", "version: 1\nsubscriptions: [{source: a}]", "version: 1\nsubscriptions: [{handler: {sink: discard}}]",
		"version: 1\nsubscriptions: [{source: a, handler: {sink: discard, http: {url: 'http://x'}}}]", "version: 1\nsubscriptions: [{source: a, handler: {}}]",
		"version: 1\nsubscriptions: [{source: a, handler: {http: {url: 'http://x', auth: {}}}}]",
		"version: 1\nsubscriptions: [{source: a, handler: {http: {url: 'http://x', statuses: {\"409\": nope}}}}]",
		"version: 1\n" + handler + ", data_dir: x}]", "version: 1\n" + handler + ", retry: {tiers: [{from: 0}]}}]", "version: 1\ndata_dir: 5",
	}
	for _, text := range good {
		if err := schema.Validate(instance(t, []byte(text))); err != nil {
			t.Errorf("the schema refuses\n%s\n%v", text, err)
		}
		if _, err := config.Decode("redrive.yaml", []byte(text)); err != nil {
			t.Errorf("the program refuses\n%s\n%v", text, err)
		}
	}
	for _, text := range bad {
		if schema.Validate(instance(t, []byte(text))) == nil {
			t.Errorf("the schema takes\n%s", text)
		}
		if _, err := config.Decode("redrive.yaml", []byte(text)); err == nil {
			t.Errorf("the program takes\n%s", text)
		}
	}
}
