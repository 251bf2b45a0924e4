package demo

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/redrive-dev/redrive/broker"
)

// taken is a file with the messages that had to be taken out of their queues to be
// counted. It is made with the first of them.
type taken struct {
	dir string
	f   *os.File
}

// takenLine is a message in that file.
type takenLine struct {
	Queue    string          `json:"queue"`
	Body     []byte          `json:"body"`
	Headers  []broker.Header `json:"headers"`
	Envelope json.RawMessage `json:"envelope,omitempty"`
}

// keep writes messages down, durably: then they may be removed from the queue.
func (t *taken) keep(queue string, letters []broker.Letter) error {
	if t.f == nil {
		f, err := appendTo(t.dir, takenFile)
		if err != nil {
			return fmt.Errorf("keep what was taken: %w", err)
		}
		t.f = f
	}
	encoder := json.NewEncoder(t.f)
	var errs []error
	for i := range letters {
		m := &letters[i].Message
		line := takenLine{Queue: queue, Body: m.Body, Headers: m.Headers}
		if json.Valid(m.Envelope) {
			line.Envelope = m.Envelope
		}
		errs = append(errs, encoder.Encode(line))
	}
	if err := errors.Join(append(errs, t.f.Sync())...); err != nil {
		return fmt.Errorf("keep what was taken: %w", err)
	}
	return nil
}

func (t *taken) close() error {
	if t.f == nil {
		return nil
	}
	return t.f.Close()
}
