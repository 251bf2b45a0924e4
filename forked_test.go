package redrive_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/redrive-dev/redrive"
	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/envelope"
	"github.com/redrive-dev/redrive/failure"
	"github.com/redrive-dev/redrive/idempotency"
)

// fork publishes copies of one message as retries left them: each with its own
// incarnation, and what else the edit says.
func (b *bench) fork(body string, edits ...func(*envelope.Envelope)) {
	b.t.Helper()
	for i, edit := range edits {
		e := envelope.Envelope{
			Key: "k", Source: source, Group: broker.DefaultGroup, BodyDigest: envelope.Digest([]byte(body)),
			Origin: idempotency.Origin("the original", broker.DefaultGroup), Incarnation: "copy " + string(rune('a'+i)),
		}
		edit(&e)
		raw, _, err := envelope.Encode(e, envelope.DefaultLimit)
		if err != nil {
			b.t.Fatal(err)
		}
		if err := b.broker.Publish(b.ctx, []broker.Outbound{{Queue: source, Body: []byte(body), Envelope: raw}})[0]; err != nil {
			b.t.Fatal(err)
		}
	}
}

// found returns the letters of the queues.
func (b *bench) found(queues ...string) (out []broker.Letter) {
	b.t.Helper()
	for _, queue := range queues {
		view, err := b.broker.Letters(b.ctx, queue)
		if err != nil {
			b.t.Fatal(err)
		}
		letters, _, err := view.Scan(b.ctx, "", 100)
		if err != nil {
			b.t.Fatal(err)
		}
		out = append(out, letters...)
	}
	return out
}

// A crash can make two copies of one message. However many retries each of them
// has behind it, and whatever is decided about each, they become one letter. What is
// replayed and fails again is kept beside it, once for each replay.
func TestForkedMessageIsOneLetter(t *testing.T) {
	names := broker.NamesFor(source, "")
	asIs := func(*envelope.Envelope) {}
	replay := func(n int, id string) func(*envelope.Envelope) {
		return func(e *envelope.Envelope) { e.Replays, e.ReplayID = n, id }
	}
	for _, c := range []struct {
		rule  string
		edits []func(*envelope.Envelope)
		want  int
	}{
		{"chains of different lengths", []func(*envelope.Envelope){asIs, func(e *envelope.Envelope) { e.Count, e.Uncounted = 2, 3 }, asIs}, 1},
		{"a replay, read twice, and the first life", []func(*envelope.Envelope){asIs, replay(1, "rp:l:1"), replay(1, "rp:l:1")}, 2},
		{"two replays of one letter", []func(*envelope.Envelope){replay(1, "rp:l:1"), replay(1, "rp:l:2")}, 2},
		{"replays without an id", []func(*envelope.Envelope){replay(1, ""), replay(2, ""), replay(2, "")}, 2},
		{"copies of an earlier release are told apart by their incarnations", []func(*envelope.Envelope){
			func(e *envelope.Envelope) { e.Origin = "" }, func(e *envelope.Envelope) { e.Origin = "" },
		}, 2},
	} {
		t.Run(c.rule, func(t *testing.T) {
			inBubble(t, func(t *testing.T, b *bench) {
				t.Helper()
				b.fork("body", c.edits...)
				verdicts := []error{redrive.Business(errors.New("no")), redrive.Quarantine(redrive.Business(errors.New("no")))}
				n := 0
				_, stop := b.start(nil, func(context.Context, *redrive.Message) error {
					n++
					return verdicts[n%2]
				}, func(c *redrive.Config) { c.Concurrency = 1 })
				pass(time.Minute)
				if err := stop(); err != nil {
					t.Fatal(err)
				}
				got := b.found(names.DeadLetter, names.Quarantine(failure.Business))
				seen := map[string]bool{}
				for i := range got {
					e, err := envelope.Decode(got[i].Message.Envelope)
					if err != nil {
						t.Fatal(err)
					}
					seen[e.Incarnation] = true
				}
				if len(got) != c.want || len(seen) != c.want || n != len(c.edits) {
					t.Errorf("%d letters with %d incarnations after %d runs, want %d", len(got), len(seen), n, c.want)
				}
			})
		})
	}
}
