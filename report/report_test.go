package report_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/redrive-dev/redrive/failure"
	"github.com/redrive-dev/redrive/report"
)

var update = flag.Bool("update", false, "write the golden files of the current version")

func at(ms int64) time.Time { return time.UnixMilli(1_767_225_600_000 + ms).UTC() }

func failedAgain() report.Outcome {
	return report.Outcome{
		ReplayID: "rp:ltr-01jq3v:2", Replays: 2, Verdict: report.DeadLettered,
		Source: "orders", Group: "billing", Key: "order-4711", Queue: "orders--billing.dlq",
		Category: failure.Business, Reason: "permanent", Signature: "s1:9b2f", Worker: "billing-1", At: at(7),
	}
}

func alive() report.Heartbeat {
	return report.Heartbeat{
		Source: "orders", Group: "billing", Worker: "billing-1", Version: "v1.2.3", State: report.Running,
		StartedAt: at(0), At: at(20_000), Interval: 10 * time.Second, PolicyDigest: strings.Repeat("ab", 32), Paused: true,
		Breaker: report.Breaker{State: "open", ProbeDueAt: at(24_500)},
		Dependencies: []report.Dependency{
			{Name: "ledger", Breaker: report.Breaker{State: "closed"}},
			{Name: "mail", Breaker: report.Breaker{State: "half-open", ProbeDueAt: at(21_000)}},
		},
		InFlight: report.InFlight{Waiting: 3, Running: 2, Staying: 1, Suspects: 1, Stuck: 1},
	}
}

// golden compares the record with its file.
func golden(t *testing.T, name string, raw []byte) []byte {
	t.Helper()
	file := filepath.Join("testdata", "v1", name+".json")
	if *update {
		if err := os.WriteFile(file, append(bytes.Clone(raw), '\n'), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	stored, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	stored = bytes.TrimSuffix(stored, []byte("\n"))
	if diff := cmp.Diff(string(stored), string(raw)); diff != "" {
		t.Errorf("wire form of %s (-golden +got):\n%s", name, diff)
	}
	return stored
}

// TestGolden keeps the formats: what version 1 wrote must be read for ever.
func TestGolden(t *testing.T) {
	settled := report.Outcome{Replays: 1, Verdict: report.Settled, Source: "orders", Group: "default", At: at(0)}
	for name, want := range map[string]report.Outcome{"outcome-dead-lettered": failedAgain(), "outcome-settled": settled} {
		raw, err := report.EncodeOutcome(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := report.DecodeOutcome(golden(t, name, raw))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s decoded (-want +got):\n%s", name, diff)
		}
	}
	least := report.Heartbeat{Source: "orders", Worker: "w", State: report.Stopped, Breaker: report.Breaker{State: "closed"}}
	for name, want := range map[string]report.Heartbeat{"heartbeat": alive(), "heartbeat-least": least} {
		raw, err := report.EncodeHeartbeat(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := report.DecodeHeartbeat(golden(t, name, raw))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s decoded (-want +got):\n%s", name, diff)
		}
	}
}

func TestARepeatHasTheSameID(t *testing.T) {
	o := failedAgain()
	o.Worker, o.At = "billing-2", at(9)
	if o.ID() != failedAgain().ID() {
		t.Errorf("a repeat by another worker has id %q, want %q", o.ID(), failedAgain().ID())
	}
	seen := map[string]bool{}
	for _, change := range []func(*report.Outcome){
		func(*report.Outcome) {},
		func(o *report.Outcome) { o.Verdict = report.Settled },
		func(o *report.Outcome) { o.ReplayID = "rp:ltr-01jq3v:3" },
		func(o *report.Outcome) { o.ReplayID = "" },
		func(o *report.Outcome) { o.ReplayID, o.Replays = "", 3 },
		func(o *report.Outcome) { o.ReplayID, o.Key = "", "order-4712" },
		func(o *report.Outcome) { o.ReplayID, o.Source, o.Group = "", "orders/billing", "" },
	} {
		o := failedAgain()
		change(&o)
		if seen[o.ID()] {
			t.Errorf("two outcomes share the id %q", o.ID())
		}
		seen[o.ID()] = true
	}
}

func TestKeysOfWorkersAreApart(t *testing.T) {
	keys := map[string]report.Heartbeat{}
	for _, h := range []report.Heartbeat{
		{Source: "a", Group: "b", Worker: "c"},
		{Source: "a/b", Group: "", Worker: "c"},
		{Source: "a", Group: "b/c", Worker: ""},
		{Source: "a%2Fb", Group: "", Worker: "c"},
		{Source: "a", Group: "b", Worker: "d"},
	} {
		if other, taken := keys[h.Key()]; taken {
			t.Errorf("%+v and %+v share the key %q", h, other, h.Key())
		}
		keys[h.Key()] = h
	}
}

func TestNewerRecordsAreLeftToNewerReaders(t *testing.T) {
	var newer *report.VersionError
	_, err := report.DecodeOutcome([]byte(`{"v":2,"type":"outcome","verdict":{"new":"shape"}}`))
	if !errors.As(err, &newer) || newer.Version != 2 || newer.Kind != "outcome" || !strings.Contains(err.Error(), "update redrive") {
		t.Errorf("outcome of version 2: %v", err)
	}
	_, err = report.DecodeHeartbeat([]byte(`{"v":7,"type":"heartbeat","state":[1]}`))
	if !errors.As(err, &newer) || newer.Version != 7 || newer.Kind != "heartbeat" {
		t.Errorf("heartbeat of version 7: %v", err)
	}
	got, err := report.DecodeOutcome([]byte(`{"v":1,"type":"outcome","verdict":"settled","source":"s","group":"g","new":{"a":[1]}}`))
	if err != nil || got.Source != "s" {
		t.Errorf("a field that is not known: %+v, %v", got, err)
	}
}

func TestDamagedRecordsAreRefused(t *testing.T) {
	for _, raw := range []string{
		``, `{`, `[]`, `null`, `{"v":1}`, `{"type":"outcome","verdict":"settled","source":"s"}`,
		`{"v":0,"type":"outcome","verdict":"settled","source":"s"}`, `{"v":-1,"type":"outcome","verdict":"settled","source":"s"}`,
		`{"v":"1","type":"outcome","verdict":"settled","source":"s"}`, `{"v":1,"type":"heartbeat","verdict":"settled","source":"s"}`,
		`{"v":1,"type":"outcome","verdict":"perhaps","source":"s"}`, `{"v":1,"type":"outcome","verdict":"settled"}`,
		`{"v":1,"type":"outcome","verdict":"settled","source":"s","category":"bad luck"}`,
		`{"v":1,"type":"outcome","verdict":"settled","source":"s","replays":-1}`,
		`{"v":1,"type":"outcome","verdict":"settled","source":"s","at":"yesterday"}`,
		`{"v":1,"type":"outcome","verdict":"settled","source":"` + strings.Repeat("s", report.MaxOutcome) + `"}`,
	} {
		var format *report.FormatError
		if got, err := report.DecodeOutcome([]byte(raw)); !errors.As(err, &format) || got != (report.Outcome{}) {
			t.Errorf("%.80s gives %+v, %v, want a FormatError", raw, got, err)
		}
	}
	for _, raw := range []string{
		`{"v":1,"type":"outcome"}`, `{"v":1,"type":"heartbeat","worker":"w","state":"running","breaker":{"state":"closed"}}`,
		`{"v":1,"type":"heartbeat","source":"s","state":"running","breaker":{"state":"closed"}}`,
		`{"v":1,"type":"heartbeat","source":"s","worker":"w","state":"asleep","breaker":{"state":"closed"}}`,
		`{"v":1,"type":"heartbeat","source":"s","worker":"w","state":"running"}`,
		`{"v":1,"type":"heartbeat","source":"s","worker":"w","state":"running","breaker":{"state":"ajar"}}`,
		`{"v":1,"type":"heartbeat","source":"s","worker":"w","state":"running","breaker":{"state":"closed"},"dependencies":[{"name":"d"}]}`,
		`{"v":1,"type":"heartbeat","source":"s","worker":"w","state":"running","breaker":{"state":"closed"},"interval_ms":-1}`,
		`{"v":1,"type":"heartbeat","source":"s","worker":"w","state":"running","breaker":{"state":"closed"},"interval_ms":9223372036854775807}`,
	} {
		var format *report.FormatError
		if got, err := report.DecodeHeartbeat([]byte(raw)); !errors.As(err, &format) || got.Source != "" {
			t.Errorf("%s gives %+v, %v, want a FormatError", raw, got, err)
		}
	}
}

func TestRecordsAreBounded(t *testing.T) {
	h := alive()
	h.Dependencies = nil
	for i := range 400 {
		state := "closed"
		if i%10 == 9 {
			state = "open"
		}
		h.Dependencies = append(h.Dependencies, report.Dependency{Name: fmt.Sprintf("d%03d", 399-i), Breaker: report.Breaker{State: state}})
	}
	got := reread(t, h)
	open := 0
	for i, d := range got.Dependencies {
		if d.State == "open" {
			open++
		}
		if i > 0 && got.Dependencies[i-1].Name >= d.Name {
			t.Errorf("%q comes after %q", d.Name, got.Dependencies[i-1].Name)
		}
	}
	if len(got.Dependencies) != report.MaxDependencies || got.More != 300 || open != 40 {
		t.Errorf("%d dependencies, %d of them open, and %d more; want 100, 40 and 300", len(got.Dependencies), open, got.More)
	}
	if h.Dependencies[0].Name != "d399" {
		t.Error("the argument was sorted")
	}
	for i := range h.Dependencies {
		h.Dependencies[i].Name = strings.Repeat("\x00", 300) + h.Dependencies[i].Name
	}
	if got := reread(t, h); len(got.Dependencies) == 0 || len(got.Dependencies)+got.More != 400 {
		t.Errorf("%d dependencies with long names and %d more, want some, 400 in all", len(got.Dependencies), got.More)
	}

	var format *report.FormatError
	h.Worker = strings.Repeat("w", report.MaxHeartbeat)
	if _, err := report.EncodeHeartbeat(h); !errors.As(err, &format) {
		t.Errorf("an endless name: %v", err)
	}
	o := failedAgain()
	o.Source = strings.Repeat("s", report.MaxOutcome)
	if _, err := report.EncodeOutcome(o); !errors.As(err, &format) {
		t.Errorf("an endless source: %v", err)
	}
}

func reread(t *testing.T, h report.Heartbeat) report.Heartbeat {
	t.Helper()
	raw, err := report.EncodeHeartbeat(h)
	if err != nil {
		t.Fatal(err)
	}
	if len(raw) > report.MaxHeartbeat {
		t.Fatalf("%d bytes", len(raw))
	}
	got, err := report.DecodeHeartbeat(raw)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func FuzzDecodeOutcome(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		o, err := report.DecodeOutcome(raw)
		if err != nil {
			return
		}
		again, err := report.EncodeOutcome(o)
		if err != nil {
			return // escaping can make it longer than it was
		}
		got, err := report.DecodeOutcome(again)
		if err != nil || got != o {
			t.Fatalf("decoded %+v, written and read again %+v, %v", o, got, err)
		}
	})
}

func FuzzDecodeHeartbeat(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		h, err := report.DecodeHeartbeat(raw)
		if err != nil {
			return
		}
		again, err := report.EncodeHeartbeat(h)
		if err != nil {
			return
		}
		got, err := report.DecodeHeartbeat(again)
		if err != nil || got.Key() != h.Key() || !got.At.Equal(h.At) {
			t.Fatalf("decoded %+v, written and read again %+v, %v", h, got, err)
		}
	})
}

func seeds(f *testing.F) {
	f.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", "v1", "*.json"))
	if err != nil || len(files) == 0 {
		f.Fatalf("no golden files: %v", err)
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Add([]byte(`{"v":2,"type":"outcome"}`))
}
