package app

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/redrive-dev/redrive/server/internal/config"
)

func parse(t *testing.T, text string) Config {
	t.Helper()
	l, err := config.Decode("redrive.yaml", []byte(text))
	require.NoError(t, err)
	return l.Config
}

func TestChanges(t *testing.T) {
	t.Parallel()
	old := parse(t, `
version: 1
brokers:
  prod: {type: nats, url: "nats://a:4222", token: {env: A}}
  other: {type: nats, url: "nats://b:4222", token: {value: one}}
defaults: {concurrency: 8}
subscriptions:
  - {source: orders, broker: prod, handler: {sink: discard}}
  - {source: orders, group: audit, broker: prod, handler: {sink: discard}}
  - {source: gone, broker: other, handler: {sink: discard}}
`)
	next := parse(t, `
version: 1
log: {level: debug}
brokers:
  prod: {type: nats, url: "nats://a:4222", token: {env: B}}
  other: {type: nats, url: "nats://b:4222", token: {value: two}}
defaults: {concurrency: 9}
subscriptions:
  - {source: orders, group: audit, broker: prod, concurrency: 8, handler: {sink: discard}}
  - {source: orders, broker: prod, handler: {http: {url: "http://x/"}}}
`)
	got := map[string]Change{}
	for _, c := range Changes(old, next) {
		require.NotContains(t, got, c.Path)
		got[c.Path] = c
	}
	want := map[string]Change{
		"log.level":                                  {"log.level", "info", "debug"},
		"brokers.prod.token":                         {"brokers.prod.token", "env A", "env B"},
		"brokers.other.token":                        {"brokers.other.token", "a literal value", "a literal value (another one)"},
		"subscriptions[orders].concurrency":          {"subscriptions[orders].concurrency", "8", "9"},
		"subscriptions[orders].max_in_flight":        {"subscriptions[orders].max_in_flight", "32", "36"},
		"subscriptions[orders].handler.sink":         {"subscriptions[orders].handler.sink", "discard", ""},
		"subscriptions[orders].handler.http.url":     {"subscriptions[orders].handler.http.url", "", "http://x/"},
		"subscriptions[gone].source":                 {"subscriptions[gone].source", "gone", ""},
		"subscriptions[orders].handler.http.timeout": {"subscriptions[orders].handler.http.timeout", "", "30s"},
	}
	for path, w := range want {
		if diff := cmp.Diff(w, got[path]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", path, diff)
		}
	}
	for path := range got {
		require.NotContains(t, path, "audit", "the place in the list is no change")
	}
	require.Empty(t, Changes(old, old))
	require.Empty(t, Changes(Config{}, Config{}.WithDefaults()), "a default that is spelt out is no change")
}

func TestSecretIsReadAgainAndKept(t *testing.T) {
	t.Parallel()
	now := time.Unix(0, 0)
	value, reads := "one", 0
	r := &revealer{reveal: func() (string, error) { reads++; return value, nil }, now: func() time.Time { return now }, slot: make(chan struct{}, 1)}
	expect := func(want string, wantReads int) {
		t.Helper()
		got, err := r.get()
		require.NoError(t, err)
		require.Equal(t, want, got)
		require.Equal(t, wantReads, reads)
	}
	expect("one", 1)
	value = "two"
	now = now.Add(secretLife - 1)
	expect("one", 1)
	now = now.Add(1)
	expect("two", 2)
	// While somebody reads it anew, the others go on with what they had.
	now = now.Add(secretLife)
	r.slot <- struct{}{}
	expect("two", 2)
	<-r.slot
	value = "three"
	expect("three", 3)
}
