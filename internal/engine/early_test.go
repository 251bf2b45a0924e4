package engine_test

import (
	"testing"
	"time"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/decision"
	"github.com/redrive-dev/redrive/envelope"
	"github.com/redrive-dev/redrive/internal/engine"
)

// A broker whose clock is ahead delivers a retry before the worker that made it
// thinks that it is due. What costs no attempt would then go round and round.
func TestARetryThatIsEarlyByTheClockThatDelayedItIsGivenBack(t *testing.T) {
	const delay = 20 * time.Second
	for name, tt := range map[string]struct {
		edit  func(a *envelope.Attempt, e *envelope.Envelope)
		wait  time.Duration
		early bool
	}{
		"at once":                {wait: delay, early: true},
		"in the middle":          {edit: func(a *envelope.Attempt, _ *envelope.Envelope) { a.At = a.At.Add(-delay / 2) }, wait: delay / 2, early: true},
		"the clock was set back": {edit: func(a *envelope.Attempt, _ *envelope.Envelope) { a.At = a.At.Add(24 * time.Hour) }},
		"due":                    {edit: func(a *envelope.Attempt, _ *envelope.Envelope) { a.At = a.At.Add(-delay) }},
		"of another worker":      {edit: func(a *envelope.Attempt, _ *envelope.Envelope) { a.Worker = "another" }},
		"replayed since":         {edit: func(_ *envelope.Attempt, e *envelope.Envelope) { e.Replays++ }},
		"within good clocks":     {edit: func(a *envelope.Attempt, _ *envelope.Envelope) { a.At = a.At.Add(5*time.Millisecond - delay) }},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFlowWith(t, broker.Caps{Count: broker.CountExact, MaxRelease: time.Hour}, decision.Policy{})
			e := &envelope.Envelope{Attempts: []envelope.Attempt{{At: f.now, Delay: delay, Worker: "w", Uncounted: decision.UncountedDependency}}}
			if tt.edit != nil {
				tt.edit(&e.Attempts[0], e)
			}
			ran, back := false, time.Duration(0)
			for _, a := range f.m.Received(f.now, []*engine.Item{{Delivery: stored{"000001"}, Env: e}}, nil, nil) {
				switch {
				case a.Kind == engine.Run:
					ran = true
				case a.Kind == engine.Settle && a.Verdict.Row == decision.RowEarly && a.Verdict.Action == decision.Release:
					back = a.Verdict.After
				}
			}
			if ran == tt.early || back != tt.wait {
				t.Errorf("it ran: %v, given back for %s; want %v and %s", ran, back, !tt.early, tt.wait)
			}
		})
	}
}
