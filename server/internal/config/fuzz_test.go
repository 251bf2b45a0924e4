package config

import (
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

// encode writes a configuration with its secrets, for round trips.
func encode(tb testing.TB, c Config) []byte {
	tb.Helper()
	out, err := yaml.Marshal((&encoder{reveal: true}).structure(reflect.ValueOf(c), ""))
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

// roundTrip checks that what was decoded is encoded to something that decodes
// the same, as it was written and with its defaults.
func roundTrip(tb testing.TB, l *Loaded) {
	tb.Helper()
	for what, c := range map[string]Config{"written": l.written, "resolved": l.Config} {
		out := encode(tb, c)
		back, err := Decode("again.yaml", out)
		if err != nil {
			tb.Fatalf("%s: encoded to what cannot be decoded: %v\n%s", what, err, out)
		}
		got := back.written
		if diff := cmp.Diff(c, got); diff != "" {
			tb.Fatalf("%s (-first +again):\n%s\n%s", what, diff, out)
		}
		if diff := cmp.Diff(l.Config, back.Config); diff != "" {
			tb.Fatalf("%s, with defaults (-first +again):\n%s\n%s", what, diff, out)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(full(f))
	f.Add(template)
	f.Add(uncomment(template))
	for _, s := range []string{
		"", "version: 1", "version: 1\n---\n", "{", "\xff", "version: 1\ndefaults: {retry: {tiers: [{from: 1}, {}]}}",
		"version: 1\nbrokers: {a: {type: nats, url: 'nats://x', user: \"a\\nb\", password: {value: \" x\\t\"}}}",
		"version: 1\nsubscriptions: [{source: 'null', group: '~', handler: {sink: discard}}]",
		"version: 1\nsubscriptions: [{source: \"1e3\", handler: {http: {url: 'http://h', auth: {}, tls: {}, headers: {'': x, \"1\": \"\\u2028\"}}}}]",
		"version: 0x1\ndefaults: {concurrency: 1_0, breaker: {failure_rate: 1e-7}}",
		"&a version: 1\n*a : 2", "version: 1\nx: *nope", "version: 1\n? [a]\n: b",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 64<<10 {
			return
		}
		l, err := Decode("redrive.yaml", data)
		if err != nil {
			if strings.TrimSpace(err.Error()) == "" {
				t.Fatal("an error without a text")
			}
			return
		}
		roundTrip(t, l)
		for _, resolved := range []bool{false, true} {
			if _, err := l.View(resolved).YAML(true); err != nil {
				t.Fatal(err)
			}
			if _, err := l.View(resolved).MarshalJSON(); err != nil {
				t.Fatal(err)
			}
		}
	})
}
