package engine_test

import (
	"errors"
	"testing"
	"time"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/decision"
	"github.com/redrive-dev/redrive/envelope"
	"github.com/redrive-dev/redrive/failure"
	"github.com/redrive-dev/redrive/internal/engine"
)

// The last attempt of a message fails in an outage, and the verdict comes late. What
// began to succeed meanwhile says nothing about it.
func TestASuccessAfterTheRunBeganDoesNotBlameTheMessage(t *testing.T) {
	for _, c := range []struct {
		name  string
		first bool // the other message succeeds before the last attempt begins
		want  decision.Action
	}{
		{"it succeeds afterwards", false, decision.Retry},
		{"it succeeded before", true, decision.DeadLetter},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFlowWith(t, broker.Caps{Count: broker.CountExact}, decision.Policy{})
			other := &engine.Item{Delivery: stored{"000002"}}
			last := &engine.Item{Delivery: stored{"000001"}, Env: &envelope.Envelope{
				Key: "k", Count: 4, FirstFailure: f.now.Add(-time.Minute), LastFailure: f.now.Add(-time.Second),
			}}
			succeed := func() {
				f.now = f.now.Add(time.Second)
				f.deliver(other)
				f.now = f.now.Add(time.Second)
				f.do(f.m.Finished(f.now, other, &engine.Result{Fact: decision.Handled}, nil))
			}
			if c.first {
				succeed()
			}
			f.now = f.now.Add(time.Second)
			f.deliver(last)
			if !c.first {
				succeed()
			}
			f.now = f.now.Add(time.Second)
			fl := failure.Classify(errors.New("connection refused"))
			var verdict decision.Verdict
			for _, a := range f.m.Finished(f.now, last, &engine.Result{Fact: decision.Failed, Failure: &fl, Signature: "s", Key: "k"}, nil) {
				if a.Kind == engine.Settle && a.Item == last {
					verdict = a.Verdict
				}
			}
			if verdict.Action != c.want {
				t.Errorf("the verdict is %s (%s), want %s", verdict.Action, verdict.Row, c.want)
			}
		})
	}
}
