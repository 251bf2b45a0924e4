package redrive_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/redrive-dev/redrive"
	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/envelope"
	"github.com/redrive-dev/redrive/failure"
	"github.com/redrive-dev/redrive/idempotency"
	"github.com/redrive-dev/redrive/redrivetest"
	"github.com/redrive-dev/redrive/report"
)

// replay publishes a letter's second replay to the subscription's own entry.
func (b *bench) replay(letter, body string, edit ...func(*envelope.Envelope)) {
	b.t.Helper()
	id := idempotency.ReplayPublishID(letter, 2)
	e := envelope.Envelope{
		Key: "key of " + body, PublishID: id, ReplayID: id, Replays: 2,
		Source: source, Group: broker.DefaultGroup, BodyDigest: envelope.Digest([]byte(body)),
	}
	for _, f := range edit {
		f(&e)
	}
	raw, _, err := envelope.Encode(e, envelope.DefaultLimit)
	if err != nil {
		b.t.Fatal(err)
	}
	out := broker.Outbound{Queue: broker.NamesFor(source, "").Replay, ID: id, Body: []byte(body), Envelope: raw}
	if err := b.broker.Client().Publish(b.ctx, []broker.Outbound{out})[0]; err != nil {
		b.t.Fatal(err)
	}
}

// outcomes reads what was reported, in order.
func (b *bench) outcomes() []report.Outcome {
	b.t.Helper()
	var all []report.Outcome
	for _, l := range b.letters(broker.QueueOutcomes) {
		o, err := report.DecodeOutcome(l.Message.Body)
		if err != nil {
			b.t.Fatal(err)
		}
		all = append(all, o)
	}
	return all
}

func (b *bench) wantVerdicts(want map[string]report.Verdict) {
	b.t.Helper()
	got := map[string]report.Verdict{}
	for _, o := range b.outcomes() {
		got[o.ReplayID] = o.Verdict
	}
	if diff := cmp.Diff(want, got); diff != "" {
		b.t.Errorf("outcomes (-want +got):\n%s", diff)
	}
}

func TestEveryFinalVerdictOnAReplayIsReported(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		inbox := idempotency.NewMemory()
		done, err := inbox.Claim(b.ctx, "key of known", idempotency.Scope(source, broker.DefaultGroup), envelope.Digest([]byte("known")), time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		if err := inbox.Complete(b.ctx, done.Claim); err != nil {
			t.Fatal(err)
		}
		s := newScript(map[string][]error{
			"late": {errors.New("down"), errors.New("down")},
			"bad":  {failure.AsBusiness(errors.New("no stock"))},
			"odd":  {failure.Quarantine(failure.AsSchema(errors.New("odd")))},
			"new":  {failure.AsBusiness(errors.New("no stock"))},
		})
		for _, body := range []string{"good", "late", "known", "bad", "odd"} {
			b.replay("letter of "+body, body, func(e *envelope.Envelope) {
				if body == "late" {
					e.ReplayID = "" // by who does not know the field
				}
			})
		}
		b.publish("new", "fine")
		b.start(nil, s.handle, func(c *redrive.Config) { c.Inbox = inbox })
		pass(time.Minute)
		id := func(body string) string { return idempotency.ReplayPublishID("letter of "+body, 2) }
		b.wantVerdicts(map[string]report.Verdict{
			id("good"): report.Settled, id("late"): report.Settled, id("known"): report.Duplicate,
			id("bad"): report.DeadLettered, id("odd"): report.Quarantined,
		})
		if n := s.runs("late"); n != 3 || len(b.outcomes()) != 5 {
			t.Errorf("%d outcomes after %d runs of the one that recovers late, want 5 after 3: a retry is no outcome", len(b.outcomes()), n)
		}
		names := broker.NamesFor(source, "")
		for _, o := range b.outcomes() {
			if o.Source != source || o.Group != broker.DefaultGroup || o.Replays != 2 || o.Worker != "w" || o.At.IsZero() {
				t.Errorf("outcome is %+v", o)
			}
			switch o.Verdict {
			case report.DeadLettered:
				if o.Queue != names.DeadLetter || o.Category != failure.Business || o.Reason != "permanent" || o.Signature == "" || o.Key != "key of bad" {
					t.Errorf("outcome is %+v", o)
				}
			case report.Quarantined:
				if o.Queue != names.Quarantine(failure.Schema) || o.Category != failure.Schema || o.Reason != "requested" {
					t.Errorf("outcome is %+v", o)
				}
			case report.Settled, report.Duplicate:
				if o.Queue != "" || o.Category != failure.None {
					t.Errorf("outcome is %+v", o)
				}
			}
		}
		for _, l := range b.letters(names.DeadLetter) {
			if e := envelopeOf(t, l); string(l.Message.Body) == "bad" && (e.ReplayID != id("bad") || e.Replays != 2) {
				t.Errorf("the letter that died again has replay %d, %q", e.Replays, e.ReplayID)
			}
		}
	})
}

func TestACopiedEnvelopeIsNoReplay(t *testing.T) {
	inBubble(t, func(_ *testing.T, b *bench) {
		b.replay("letter", "good", func(e *envelope.Envelope) { e.BodyDigest = envelope.Digest([]byte("another")) })
		b.start(nil, newScript(nil).handle, nil)
		pass(time.Minute)
		b.wantVerdicts(map[string]report.Verdict{})
	})
}

func TestAReplayIsSettledOnlyAfterItsOutcomeIsConfirmed(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		s := newScript(map[string][]error{"bad": {failure.AsBusiness(errors.New("no stock"))}})
		b.replay("1", "good")
		b.replay("2", "bad")
		fault := redrivetest.FailPublish(broker.QueueOutcomes).Times(8)
		_, stop := b.start(redrivetest.Inject(b.broker.Client(), fault), s.handle, nil)
		names := broker.NamesFor(source, "")
		pass(500 * time.Millisecond)
		if n := b.depth(names.Replay); n != 2 || b.depth(names.DeadLetter) != 0 {
			t.Errorf("%d of 2 replays are unsettled and %d are letters while no outcome is confirmed", n, b.depth(names.DeadLetter))
		}
		pass(time.Minute)
		b.wantVerdicts(map[string]report.Verdict{"rp:1:2": report.Settled, "rp:2:2": report.DeadLettered})
		b.want(names.DeadLetter, "bad")
		if b.depth(names.Replay) != 0 || s.runs("good") != 1 || s.runs("bad") != 1 || b.events.count(redrive.EventOutcomeFailed) != 8 {
			t.Errorf("%d replays are left, the handler ran %d and %d times, %d failures were told; want 0, 1, 1, 8",
				b.depth(names.Replay), s.runs("good"), s.runs("bad"), b.events.count(redrive.EventOutcomeFailed))
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestAnOutcomeThatCannotBeReportedIsLostAfterHoldMax(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		s := newScript(map[string][]error{"bad": {failure.AsBusiness(errors.New("no stock"))}})
		b.replay("1", "good")
		b.replay("2", "bad")
		names := broker.NamesFor(source, "")
		b.start(redrivetest.Inject(b.broker.Client(), redrivetest.FailPublish(broker.QueueOutcomes)), s.handle, nil)
		pass(9 * time.Minute)
		if b.depth(names.Replay) != 2 || b.events.count(redrive.EventOutcomeLost) != 0 {
			t.Errorf("%d replays are unsettled before hold_max, want 2", b.depth(names.Replay))
		}
		b.publish("new") // is not held up
		pass(2 * time.Minute)
		lost := b.events.of(redrive.EventOutcomeLost)
		if b.depth(names.Replay) != 0 || len(lost) != 2 || lost[0].Err == nil || lost[0].Message == nil {
			t.Errorf("%d replays are unsettled after hold_max, and events are %+v", b.depth(names.Replay), lost)
		}
		b.want(names.DeadLetter, "bad")
		b.wantVerdicts(map[string]report.Verdict{})
		if s.runs("good") != 1 || s.runs("bad") != 1 || s.runs("new") != 1 {
			t.Errorf("the handler ran %d, %d and %d times, want once each", s.runs("good"), s.runs("bad"), s.runs("new"))
		}
	})
}

func TestAStopTriesOnceMoreToReport(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		b.replay("1", "good")
		names := broker.NamesFor(source, "")
		_, stop := b.start(redrivetest.Inject(b.broker.Client(), redrivetest.FailPublish(broker.QueueOutcomes).Times(9)), newScript(nil).handle, nil)
		pass(20 * time.Second)
		if b.depth(names.Replay) != 1 {
			t.Error("the replay is settled without an outcome")
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
		if lost := b.events.count(redrive.EventOutcomeLost); b.depth(names.Replay) != 0 || lost+len(b.outcomes()) != 1 {
			t.Errorf("after the stop %d replays are left, %d outcomes lost and %d reported", b.depth(names.Replay), lost, len(b.outcomes()))
		}
	})
}

// Killed between the confirmed outcome and the settlement, the next worker
// handles the message again, and reports the same.
func TestARepeatedOutcomeIsOne(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		s := newScript(nil)
		b.replay("1", "good")
		first := b.broker.Client()
		b.start(redrivetest.Inject(first, redrivetest.FailDone()), s.handle, nil)
		pass(time.Second)
		b.wantVerdicts(map[string]report.Verdict{"rp:1:2": report.Settled})
		if b.depth(broker.NamesFor(source, "").Replay) != 1 {
			t.Fatal("the replay is settled")
		}
		first.Kill()
		b.start(nil, s.handle, nil)
		pass(2 * time.Minute)
		if n := len(b.outcomes()); n != 1 || s.runs("good") != 2 || b.depth(broker.NamesFor(source, "").Replay) != 0 {
			t.Errorf("%d outcomes after %d runs, want 1 after 2", n, s.runs("good"))
		}
	})
}

// A move that was noted is repeated by the next worker, and its outcome is
// reported without another run.
func TestTheOutcomeOfANotedMoveIsReported(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		s := newScript(map[string][]error{"bad": {failure.AsBusiness(errors.New("no stock"))}})
		names := broker.NamesFor(source, "")
		b.replay("1", "bad")
		first := b.broker.Client()
		_, stop := b.start(redrivetest.Inject(first, redrivetest.FailDead()), s.handle, nil)
		pass(time.Second)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		for _, l := range b.letters(broker.QueueOutcomes) {
			letters, err := b.broker.Client().Letters(context.WithoutCancel(b.ctx), broker.QueueOutcomes)
			if err != nil {
				t.Fatal(err)
			}
			if err := letters.Remove(b.ctx, l.Position); err != nil {
				t.Fatal(err)
			}
		}
		pass(3 * time.Minute) // beyond what the broker remembers of ids
		b.start(nil, s.handle, nil)
		pass(time.Minute)
		b.want(names.DeadLetter, "bad")
		got := b.outcomes()
		if len(got) != 1 || got[0].Verdict != report.DeadLettered || got[0].ReplayID != "rp:1:2" || got[0].Queue != names.DeadLetter ||
			got[0].Category != failure.Business || got[0].Reason != "permanent" || s.runs("bad") != 1 {
			t.Errorf("outcomes are %+v after %d runs", got, s.runs("bad"))
		}
	})
}
