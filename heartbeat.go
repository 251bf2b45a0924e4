package redrive

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"time"

	"github.com/redrive-dev/redrive/breaker"
	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/report"
)

// maxHeartbeat is the longest time between two heartbeats: a worker whose last
// one is a minute old counts as gone.
const maxHeartbeat = 30 * time.Second

// heart is how a worker tells the server how it is doing.
type heart struct {
	alive     lifetime
	startedAt time.Time
	policy    string // digest
	failing   bool   // the newest heartbeat was not confirmed; of the loop alone
}

// beatLoop sends a heartbeat every interval until its lifetime ends. The first
// one comes at a random time within the first interval, so that workers that are
// started together do not write together.
func (w *Worker) beatLoop() {
	chance := rand.New(rand.NewPCG(w.cfg.Test.Seed, 0x6865617274)) //nolint:gosec // jitter, not a secret
	next := w.heart.startedAt.Add(time.Duration(chance.Int64N(int64(w.cfg.Heartbeat))))
	for {
		w.beats.Wait(next)
		if w.heart.alive.ctx.Err() != nil {
			return
		}
		now := w.host.Now()
		if now.Before(next) {
			continue
		}
		state := report.Running
		if w.fetch.ctx.Err() != nil {
			state = report.Stopping
		}
		w.beat(w.heart.alive.ctx, now, state)
		if next = next.Add(w.cfg.Heartbeat); !next.After(now) {
			next = now.Add(w.cfg.Heartbeat)
		}
	}
}

// lastBeat ends the heartbeats. After a clean stop it says so, unless nobody
// could be told before.
func (w *Worker) lastBeat(base context.Context, clean bool) {
	if w.cfg.Heartbeat <= 0 {
		return
	}
	w.heart.alive.cancel(context.Canceled)
	w.beats.Open()
	w.beating.Wait(time.Time{})
	if clean && !w.heart.failing {
		w.beat(base, w.host.Now(), report.Stopped)
	}
}

// beat publishes one heartbeat. What is wrong is logged when it begins and when
// it is over; work goes on as if nothing had happened.
func (w *Worker) beat(ctx context.Context, now time.Time, state report.State) {
	err := w.publishHeartbeat(ctx, now, state)
	failing := err != nil
	if failing == w.heart.failing || failing && ctx.Err() != nil {
		return
	}
	w.heart.failing = failing
	if failing {
		w.cfg.Logger.WarnContext(ctx, "heartbeats do not reach the broker: replays to this subscription are refused meanwhile",
			slog.String("source", w.cfg.Source), slog.Any("error", err))
	} else {
		w.cfg.Logger.InfoContext(ctx, "heartbeats reach the broker again", slog.String("source", w.cfg.Source))
	}
}

func (w *Worker) publishHeartbeat(ctx context.Context, now time.Time, state report.State) error {
	h := w.heartbeat(now, state)
	raw, err := report.EncodeHeartbeat(h)
	if err != nil {
		return err
	}
	ctx, cancel := w.host.Timeout(ctx, min(w.cfg.SettleTimeout, w.cfg.Heartbeat))
	defer cancel()
	errs := w.broker.Publish(ctx, []broker.Outbound{{Queue: broker.QueueHeartbeats, Key: []byte(h.Key()), Body: raw}})
	if len(errs) != 1 {
		return fmt.Errorf("the broker gave %d results for one message: %w", len(errs), broker.ErrUnknown)
	}
	return errors.Join(errs...)
}

// heartbeat is how the worker is doing.
func (w *Worker) heartbeat(now time.Time, state report.State) report.Heartbeat {
	h := report.Heartbeat{
		Source: w.cfg.Source, Group: w.cfg.Group, Worker: w.cfg.Name, Version: w.cfg.Version, State: state,
		StartedAt: w.heart.startedAt, At: now, Interval: w.cfg.Heartbeat, PolicyDigest: w.heart.policy,
		Dependencies: w.deps.report(now),
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.machine.Snapshot(now)
	h.Paused = w.machine.Paused()
	h.Breaker = reportBreaker(s.Breaker)
	h.InFlight = report.InFlight{Waiting: s.Waiting, Running: s.Running, Staying: s.Staying, Suspects: s.Suspects, Stuck: s.Stuck}
	return h
}

func reportBreaker(s breaker.Snapshot) report.Breaker {
	return report.Breaker{State: s.State.String(), ProbeDueAt: s.ProbeDueAt}
}

// report is the state of every breaker.
func (d *dependencies) report(now time.Time) []report.Dependency {
	d.mu.Lock()
	breakers := maps.Clone(d.byName)
	d.mu.Unlock()
	var out []report.Dependency
	for name, b := range breakers {
		out = append(out, report.Dependency{Name: name, Breaker: reportBreaker(b.Snapshot(now))})
	}
	return out
}

// buildVersion is the version of the program's main module, empty if it was built
// without one.
var buildVersion = sync.OnceValue(func() string { //nolint:gochecknoglobals // a constant of the build
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "(devel)" {
		return ""
	}
	return info.Main.Version
})
