package report

import (
	"fmt"
	"strconv"
	"time"

	"github.com/redrive-dev/redrive/failure"
)

// Verdict is what became of a replayed message.
type Verdict string

// The verdicts.
const (
	// Settled: the handler succeeded.
	Settled Verdict = "settled"
	// Duplicate: the inbox knew the message as handled.
	Duplicate Verdict = "duplicate"
	// DeadLettered and Quarantined: it failed again for good.
	DeadLettered Verdict = "dead_lettered"
	Quarantined  Verdict = "quarantined"
)

// Recovered reports whether the effect of the message is there.
func (v Verdict) Recovered() bool { return v == Settled || v == Duplicate }

func (v Verdict) known() bool {
	return v.Recovered() || v == DeadLettered || v == Quarantined
}

// Outcome says what was decided about a replayed message, for whoever replayed
// it.
type Outcome struct {
	// ReplayID is the publish id of the replay, which names the letter; see
	// idempotency.ParseReplayPublishID. Empty if the message was replayed by
	// something that gave none.
	ReplayID string
	// Replays counts the replays of the message, this one included.
	Replays int
	// Verdict is what was decided.
	Verdict Verdict
	// Source and Group are the subscription, and Key is the idempotency key.
	Source, Group, Key string
	// Queue is the logical name of the queue that the letter goes to; empty for a
	// message that recovered.
	Queue string
	// Category and Reason are those of the letter, and Signature is that of its
	// newest failure.
	Category          failure.Category
	Reason, Signature string
	// Worker decided, and At is when.
	Worker string
	At     time.Time
}

// ID is the id to publish the outcome under: the same for each repeat of one
// verdict on one replay.
func (o Outcome) ID() string {
	replay := o.ReplayID
	if replay == "" {
		replay = joined(o.Source, o.Group, o.Key, strconv.Itoa(o.Replays))
	}
	return "oc:" + replay + ":" + string(o.Verdict)
}

type wireOutcome struct {
	head

	ReplayID  string           `json:"replay_id,omitempty"`
	Replays   int              `json:"replays,omitempty"`
	Verdict   Verdict          `json:"verdict"`
	Source    string           `json:"source"`
	Group     string           `json:"group"`
	Key       string           `json:"key,omitempty"`
	Queue     string           `json:"queue,omitempty"`
	Category  failure.Category `json:"category,omitzero"`
	Reason    string           `json:"reason,omitempty"`
	Signature string           `json:"signature,omitempty"`
	Worker    string           `json:"worker,omitempty"`
	At        time.Time        `json:"at,omitzero"`
}

// EncodeOutcome returns the record, at most MaxOutcome bytes long. The error is a
// *FormatError.
func EncodeOutcome(o Outcome) ([]byte, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	return encode(kindOutcome, MaxOutcome, wireOutcome{
		head:     head{Version: Version, Type: kindOutcome},
		ReplayID: o.ReplayID, Replays: o.Replays, Verdict: o.Verdict, Source: o.Source, Group: o.Group, Key: o.Key,
		Queue: o.Queue, Category: o.Category, Reason: o.Reason, Signature: o.Signature, Worker: o.Worker, At: wireTime(o.At),
	})
}

// DecodeOutcome reads a record. The error is a *VersionError if a newer release
// wrote it, else a *FormatError; the outcome is zero with an error.
func DecodeOutcome(raw []byte) (Outcome, error) {
	var w wireOutcome
	if err := decode(kindOutcome, MaxOutcome, raw, &w); err != nil {
		return Outcome{}, err
	}
	o := Outcome{
		ReplayID: w.ReplayID, Replays: w.Replays, Verdict: w.Verdict, Source: w.Source, Group: w.Group, Key: w.Key,
		Queue: w.Queue, Category: w.Category, Reason: w.Reason, Signature: w.Signature, Worker: w.Worker, At: wireTime(w.At),
	}
	if err := o.check(); err != nil {
		return Outcome{}, err
	}
	return o, nil
}

func (o Outcome) check() error {
	switch {
	case !o.Verdict.known():
		return &FormatError{Kind: kindOutcome, Problem: fmt.Sprintf("unknown verdict %q", o.Verdict)}
	case o.Source == "":
		return &FormatError{Kind: kindOutcome, Problem: "no source"}
	case o.Replays < 0:
		return &FormatError{Kind: kindOutcome, Problem: "a negative number of replays"}
	}
	return nil
}
