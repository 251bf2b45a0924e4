package redrive_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redrive-dev/redrive"
	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/failure"
	"github.com/redrive-dev/redrive/redrivetest"
	"github.com/redrive-dev/redrive/report"
)

func (b *bench) heartbeats() map[string]report.Heartbeat {
	b.t.Helper()
	all := map[string]report.Heartbeat{}
	for _, l := range b.letters(broker.QueueHeartbeats) {
		h, err := report.DecodeHeartbeat(l.Message.Body)
		if err != nil {
			b.t.Fatal(err)
		}
		if all[h.Worker].Worker != "" {
			b.t.Errorf("worker %s has two heartbeats", h.Worker)
		}
		all[h.Worker] = h
	}
	return all
}

// lines collects log lines.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.buf.String(), text)
}

func TestHeartbeatsTellHowEachWorkerIsDoing(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		began := time.Now()
		hold := make(chan struct{})
		handle := func(ctx context.Context, m *redrive.Message) error {
			if string(m.Body) == "slow" {
				<-hold
				return nil
			}
			err := redrive.Dependency(ctx, "ledger", func(context.Context) error { return nil })
			return errors.Join(err, errors.New("down"))
		}
		_, stop := b.start(nil, handle, func(c *redrive.Config) { c.Version = "v1.2.3" })
		b.start(nil, handle, func(c *redrive.Config) { c.Name, c.Source = "other", "payments" })
		pass(10 * time.Second)
		all := b.heartbeats()
		h := all["w"]
		if len(all) != 2 || all["other"].Source != "payments" {
			t.Errorf("heartbeats are %+v, want those of two workers", all)
		}
		if h.Source != source || h.Group != broker.DefaultGroup || h.State != report.Running || h.Version != "v1.2.3" ||
			!h.StartedAt.Equal(began) || h.Interval != 10*time.Second || h.Breaker.State != "closed" || h.Paused ||
			h.PolicyDigest != (redrive.Policy{}).Digest() || h.InFlight != (report.InFlight{}) {
			t.Errorf("heartbeat of an idle worker is %+v", h)
		}
		b.publish("slow", "1", "2", "3", "4", "5", "6", "7")
		for range 30 {
			pass(10 * time.Second)
			next := b.heartbeats()["w"]
			if d := next.At.Sub(h.At); d != 10*time.Second {
				t.Fatalf("%v between two heartbeats, want 10 s", d)
			}
			h = next
			if h.Breaker.State != "closed" {
				break
			}
		}
		if h.Breaker.State == "closed" || h.Breaker.ProbeDueAt.IsZero() || h.InFlight.Running == 0 || len(h.Dependencies) != 1 || h.Dependencies[0].Name != "ledger" {
			t.Errorf("heartbeat with a downstream that is down is %+v", h)
		}
		stopping := make(chan error, 1)
		go func() { stopping <- stop() }()
		pass(15 * time.Second)
		if h := b.heartbeats()["w"]; h.State != report.Stopping {
			t.Errorf("state is %s while a handler still runs, want stopping", h.State)
		}
		close(hold)
		if err := <-stopping; err != nil {
			t.Error(err)
		}
		last := b.heartbeats()["w"]
		if last.State != report.Stopped || !last.At.Equal(time.Now()) {
			t.Errorf("the last heartbeat is %+v, want one that says stopped", last)
		}
		pass(time.Minute)
		if h := b.heartbeats()["w"]; !h.At.Equal(last.At) {
			t.Error("a heartbeat came after the last one")
		}
	})
}

func TestHeartbeatsDoNotStartTogether(t *testing.T) {
	first := map[uint64]time.Time{}
	for seed := uint64(1); seed <= 8; seed++ {
		inBubble(t, func(t *testing.T, b *bench) {
			b.start(nil, newScript(nil).handle, func(c *redrive.Config) { c.Test.Seed = seed })
			for range 100 {
				if h, ok := b.heartbeats()["w"]; ok {
					first[seed] = h.At
					return
				}
				pass(100 * time.Millisecond)
			}
			t.Error("no heartbeat in the first interval")
		})
	}
	distinct := map[time.Time]bool{}
	for _, at := range first {
		distinct[at] = true
	}
	if len(distinct) < 6 {
		t.Errorf("8 workers send their first heartbeats at %d times", len(distinct))
	}
}

func TestAFailingHeartbeatIsToldOnceAndHoldsUpNothing(t *testing.T) {
	for name, fault := range map[string]*redrivetest.Fault{
		"fails": redrivetest.FailPublish(broker.QueueHeartbeats).Times(5),
		"hangs": redrivetest.FailPublish(broker.QueueHeartbeats).Hang().Times(5),
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, b *bench) {
				log, s := &lines{}, newScript(nil)
				b.start(redrivetest.Inject(b.broker.Client(), fault), s.handle, func(c *redrive.Config) { c.Logger = slog.New(slog.NewTextHandler(log, nil)) })
				pass(35 * time.Second)
				b.publish("1")
				pass(time.Second)
				if s.runs("1") != 1 || b.depth(source) != 0 {
					t.Error("a message waits for heartbeats")
				}
				if len(b.heartbeats()) != 0 || log.count("do not reach") != 1 {
					t.Errorf("the failure was logged %d times, want once", log.count("do not reach"))
				}
				pass(2 * time.Minute)
				if len(b.heartbeats()) != 1 || log.count("do not reach") != 1 || log.count("again") != 1 {
					t.Errorf("logged %d failures and %d recoveries, want one each", log.count("do not reach"), log.count("again"))
				}
			})
		})
	}
}

func TestAStopDoesNotWaitForHeartbeats(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		_, stop := b.start(redrivetest.Inject(b.broker.Client(), redrivetest.FailPublish(broker.QueueHeartbeats).Hang()), newScript(nil).handle, nil)
		pass(25 * time.Second)
		began := time.Now()
		if err := stop(); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("the stop took %v", took)
		}
	})
}

func TestHeartbeatsCanBeTurnedOff(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		_, stop := b.start(nil, newScript(map[string][]error{"bad": {failure.AsBusiness(errors.New("no"))}}).handle, func(c *redrive.Config) { c.Heartbeat = -1 })
		b.publish("bad")
		pass(time.Minute)
		if err := stop(); err != nil {
			t.Error(err)
		}
		if len(b.heartbeats()) != 0 {
			t.Error("there are heartbeats")
		}
	})
	if err := (redrive.Config{Source: source, Heartbeat: time.Minute}).Validate(); err == nil || !strings.Contains(err.Error(), "Heartbeat") {
		t.Errorf("a heartbeat every minute: %v", err)
	}
}
