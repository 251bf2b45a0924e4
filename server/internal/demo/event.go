package demo

import (
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/redrive-dev/redrive"
)

// The kinds of events that are no redrive.EventKind.
const (
	eventBreaker     = string(redrive.EventBreaker)
	eventStarted     = "worker_started"
	eventDied        = "worker_died"
	eventKilled      = "worker_killed"
	eventOutage      = "outage"
	eventOutageEnded = "outage_ended"
	eventPublished   = "published"
)

// event is a line of the events file, which tells the view and the reader of the
// account what happened.
type event struct {
	At    time.Time `json:"at"`
	Kind  string    `json:"kind"`
	Order uint64    `json:"order,omitempty"`
	// Category, Reason and Row go with a message that was given up, State with the
	// breaker.
	Category string `json:"category,omitempty"`
	Reason   string `json:"reason,omitempty"`
	Row      string `json:"row,omitempty"`
	State    string `json:"state,omitempty"`
	// Text is for people.
	Text string `json:"text,omitempty"`
}

// eventFile is a file of events that only grows, one write for each. It is safe
// for concurrent use, by several processes too.
type eventFile struct {
	f  *os.File
	mu sync.Mutex
}

func openEventFile(dir string) (*eventFile, error) {
	f, err := appendTo(dir, eventsFile)
	if err != nil {
		return nil, fmt.Errorf("events: %w", err)
	}
	return &eventFile{f: f}, nil
}

// add appends an event. Events inform and prove nothing: what cannot be written
// is left out.
func (l *eventFile) add(e event) {
	raw, err := json.Marshal(e)
	if err != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	// The line break in front ends what a killed process left unfinished.
	_, _ = l.f.Write(append(append([]byte{'\n'}, raw...), '\n'))
}

func (l *eventFile) close() error { return l.f.Close() }
