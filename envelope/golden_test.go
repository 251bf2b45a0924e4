package envelope_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/envelope"
	"github.com/redrive-dev/redrive/failure"
)

var update = flag.Bool("update", false, "write the golden files of the current version")

func at(ms int64) time.Time { return time.UnixMilli(1_767_225_600_000 + ms).UTC() }

// retrying is an envelope as it usually looks: two attempts and nothing cut.
func retrying() envelope.Envelope {
	return envelope.Envelope{
		ID: "7f1c6a52-1d53-4c0e-9d5e-0c6d2f6b9a10", Key: "order-4711",
		Incarnation: "mcbv3qkzq4dpx2yjkm5m6w7xq3ld2r6a", PublishID: "rt:mcbv3qkzq4dpx2yjkm5m6w7xq3ld2r6a:2",
		CorrelationID: "checkout-99", Source: "orders", Group: "billing", Position: "128",
		BodyDigest: envelope.Digest([]byte(`{"order":4711}`)),
		Attempts: []envelope.Attempt{
			{At: at(0), Category: failure.Transient, ErrorType: "*net.OpError", Signature: "s1:9b2f", Delay: 87 * time.Millisecond, Worker: "billing-1"},
			{At: at(5_000), Category: failure.Transient, ErrorType: "*net.OpError", Signature: "s1:9b2f", Delay: time.Minute, Worker: "billing-2", Uncounted: "outage"},
		},
		Count: 1, Uncounted: 1, MaxAttempts: 5,
		FirstFailure: at(0), LastFailure: at(5_000),
		Category: failure.Transient, ErrorType: "*net.OpError",
		Message: "dial tcp 10.0.0.7:5432: connect: connection refused", Signature: "s1:9b2f",
	}
}

func goldens() map[string]envelope.Envelope {
	dead := retrying()
	dead.Count, dead.Uncounted, dead.Exhausted = 5, 12, at(9_000)
	dead.Reason, dead.Replays, dead.ClaimCheck = envelope.ReasonAttempts, 2, "s3://letters/7f1c6a52"
	dead.Attempts[1].Replay = 2
	dead.Trimmed = []string{"history"}

	forked := retrying()
	forked.Origin = "b7fzq2k5xw3cpm4ydnt6hvr2las5gjeo"

	replayed := retrying()
	replayed.Replays, replayed.ReplayID = 2, "rp:ltr-01jq3v:2"

	panicked := retrying()
	panicked.Category, panicked.Reason = failure.Crash, envelope.ReasonPanic
	panicked.ErrorType, panicked.Message = "runtime.boundsError", "index out of range [3] with length 3"
	panicked.Stack = "goroutine 7 [running]:\nmain.charge(...)\n\t/src/billing/charge.go:42\n"

	control := retrying()
	control.Control = []broker.Header{
		{Name: "Nats-TTL", Value: []byte("1h")},
		{Name: "Nats-TTL", Value: []byte("2h")},
		{Name: "x-death", Value: []byte{0, 1, 2, 0xff, 0xfe}},
		{Name: "note", Value: []byte("Grüße 🚀")},
		{Name: "empty", Value: []byte{}},
		{Name: "null"},
	}

	awkward := envelope.Envelope{
		ID: "a\"b\\c\r\n\t\x00\x7f", Key: "\xff\xfeclé", Source: "bestellungen-grün-🚀", Group: "\xed\xa0\x80",
		FirstFailure: time.UnixMilli(0).UTC(), LastFailure: time.UnixMilli(-1).UTC(),
	}
	return map[string]envelope.Envelope{
		"empty": {}, "retrying": retrying(), "dead": dead, "panicked": panicked, "control": control, "awkward": awkward, "replayed": replayed, "forked": forked,
	}
}

// TestGolden keeps the wire format: what version 1 wrote must be read for ever,
// and what is written now must not drift.
func TestGolden(t *testing.T) {
	for name, want := range goldens() {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join("testdata", "v1", name+".json")
			raw, written, err := envelope.Encode(want, envelope.DefaultLimit)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, written); diff != "" {
				t.Errorf("written envelope (-want +got):\n%s", diff)
			}
			if *update {
				if err := os.WriteFile(file, append(raw, '\n'), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			stored, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			stored = bytes.TrimSuffix(stored, []byte("\n"))
			if diff := cmp.Diff(string(stored), string(raw)); diff != "" {
				t.Errorf("wire form (-golden +got):\n%s", diff)
			}
			got, err := envelope.Decode(stored)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("decoded (-want +got):\n%s", diff)
			}
		})
	}
}

// TestEveryGoldenIsChecked fails when a file is left that no test reads.
func TestEveryGoldenIsChecked(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "v1", "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	known := goldens()
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		if _, ok := known[name]; !ok && name != "newer-writer" {
			t.Errorf("%s is read by no test", file)
		}
	}
}

// TestNewerWriter reads an envelope that another writer of version 1 made: with
// fields of its own, in another order, with spaces and unescaped text.
func TestNewerWriter(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join("testdata", "v1", "newer-writer.json"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := envelope.Decode(raw)
	if err != nil {
		t.Fatal(err)
	}
	want := envelope.Envelope{
		ID: "4711", Source: "bestellungen-grün", Group: "billing", Count: 2,
		Attempts: []envelope.Attempt{{At: at(0), Category: failure.Schema, Worker: "w/1"}},
		Control:  []broker.Header{{Name: "Nats-TTL", Value: []byte("1h")}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("decoded (-want +got):\n%s", diff)
	}
}
