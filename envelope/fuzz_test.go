package envelope_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/envelope"
	"github.com/redrive-dev/redrive/failure"
)

// FuzzDecode: no input panics, what is accepted is JSON, and decoding what was
// decoded and encoded again changes nothing.
func FuzzDecode(f *testing.F) {
	files, err := filepath.Glob(filepath.Join("testdata", "v1", "*.json"))
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Add([]byte(`{"v":2}`))
	f.Add([]byte(`{"v":1,"att":[{},{"d":1}],"ctl":[{"h":"a","b":""}],"trm":["stack","x"]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		e, err := envelope.Decode(raw)
		if err != nil {
			return
		}
		if !json.Valid(raw) {
			t.Fatalf("accepted what is not JSON: %q", raw)
		}
		// Escaping can make it larger than it was, and identities are never cut.
		encoded, written, err := envelope.Encode(e, envelope.MaxEncoded)
		if err != nil {
			return
		}
		checkWire(t, encoded, written, envelope.MaxEncoded)
	})
}

// FuzzEncode: whatever is in the strings, the wire form keeps its limit and its
// alphabet, and comes back as it was written.
func FuzzEncode(f *testing.F) {
	f.Add("id", "key", "orders", "boom", "main.main\n\tmain.go:1\n", []byte("60000"), int64(1), 3, 1024)
	f.Add("\xff", "é", "\x00", "\u2028", "\r\n", []byte{0xff, 0}, int64(-1), -3, 8192)
	f.Fuzz(func(t *testing.T, id, key, source, message, stack string, value []byte, at int64, n, limit int) {
		e := envelope.Envelope{
			ID: id, Key: key, Source: source, Message: message, Stack: stack, Count: n,
			Category: failure.Category(n), LastFailure: time.Unix(at, at),
			Control:  []broker.Header{{Name: id, Value: value}, {Name: key}},
			Attempts: []envelope.Attempt{{Worker: id}, {ErrorType: key, Delay: time.Duration(at)}, {Signature: source, Replay: n}},
		}
		raw, written, err := envelope.Encode(e, limit)
		if err != nil {
			return
		}
		checkWire(t, raw, written, min(limit, envelope.MaxEncoded))
		if written.ID != id || written.Key != key || written.Source != source {
			t.Fatal("an identity was changed")
		}
	})
}
