package demo

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redrive-dev/redrive"
	"github.com/redrive-dev/redrive/breaker"
	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/redrivetest/mutant"
	"github.com/redrive-dev/redrive/retry"
)

// workerConfig is the first line that a worker process reads. It comes through
// a pipe because it holds a token.
type workerConfig struct {
	Address     Address       `json:"address"`
	Source      string        `json:"source"`
	Dir         string        `json:"dir"`
	Plan        Plan          `json:"plan"`
	Outages     outages       `json:"outages"`
	Mutant      string        `json:"mutant,omitempty"`
	Concurrency int           `json:"concurrency"`
	MaxInFlight int           `json:"max_in_flight"`
	Lease       time.Duration `json:"lease"`
	RecoveryMax time.Duration `json:"recovery_max"`
	RetryMax    time.Duration `json:"retry_max"`
}

// command is a further line that a worker process reads.
type command struct {
	Strike *strikeOrder `json:"strike,omitempty"`
}

// report is a line that a worker process writes.
type report struct {
	Status *workerStatus `json:"status,omitempty"`
	// AtMove is the order in whose move the worker stands still.
	AtMove uint64 `json:"at_move,omitempty"`
}

// workerStatus is what a worker says of itself. The view shows it; the account
// does not look at it.
type workerStatus struct {
	Breaker string `json:"breaker"`
	// ProbeDue is when the breaker lets the next call through.
	ProbeDue time.Time `json:"probe_due,omitzero"`
	Running  int       `json:"running"`
	Waiting  int       `json:"waiting"`
	Suspects int       `json:"suspects"`
	Retries  int64     `json:"retries"`
}

// statusEvery is how often a worker process reports.
const statusEvery = 200 * time.Millisecond

// Work is the body of a worker process: it reads what to do from stdin and works
// until stdin ends, which it also does when the process that started it dies.
func Work(ctx context.Context, stdin io.Reader, stdout io.Writer, p Platform) error {
	// An interrupt from the keyboard reaches both processes, and the other one
	// decides when this one stops.
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	lines := json.NewDecoder(bufio.NewReader(stdin))
	var c workerConfig
	if err := lines.Decode(&c); err != nil {
		return fmt.Errorf("demo worker: what to do could not be read from standard input (redrive demo starts this process): %w", err)
	}
	out := &reports{encoder: json.NewEncoder(stdout)}
	hits := &strikes{plan: c.Plan, tell: func(id uint64) { out.send(report{AtMove: id}) }}
	go func() {
		defer cancel()
		for {
			var line command
			if lines.Decode(&line) != nil {
				return
			}
			if line.Strike != nil {
				hits.arm(*line.Strike)
			}
		}
	}()
	err := work(ctx, c, p, hits, out)
	if err != nil {
		return fmt.Errorf("demo worker: %w", err)
	}
	return nil
}

// reports writes lines from several goroutines.
type reports struct {
	mu      sync.Mutex
	encoder *json.Encoder
}

func (r *reports) send(line report) {
	r.mu.Lock()
	defer r.mu.Unlock()
	_ = r.encoder.Encode(line) // Who does not read any more has ended this process.
}

func work(ctx context.Context, c workerConfig, p Platform, hits *strikes, out *reports) (err error) {
	connection, err := p.Connect(ctx, c.Address)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, connection.Close(context.WithoutCancel(ctx))) }()
	var b broker.Broker = strikeBroker{connection, hits}
	if c.Mutant != "" {
		if b, err = mutant.Wrap(c.Mutant, b); err != nil {
			return err
		}
	}
	effects, err := openEffectLog(c.Dir, effectsFile)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, effects.close()) }()
	events, err := openEventFile(c.Dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, events.close()) }()

	s := &service{plan: c.Plan, outages: c.Outages, effects: effects, now: time.Now, kill: killSelf}
	o := &observer{events: events}
	w, err := redrive.NewWorker(b, s.handle, redrive.Config{
		Source: c.Source, Concurrency: c.Concurrency, MaxInFlight: c.MaxInFlight, Lease: c.Lease,
		IdempotencyHeader: headerOrder, StopTimeout: stopPatience,
		Policy: redrive.Policy{
			Retry:   retry.Policy{Strategy: retry.Strategy{Max: c.RetryMax}},
			Breaker: breaker.Config{Recovery: min(breaker.DefaultRecovery, c.RecoveryMax), RecoveryMax: c.RecoveryMax},
		},
		Observers: []redrive.Observer{o},
	})
	if err != nil {
		return err
	}
	var reporting sync.WaitGroup
	statusCtx, stop := context.WithCancel(ctx)
	reporting.Go(func() { reportStatus(statusCtx, w, o, out) })
	err = w.Run(ctx)
	stop()
	reporting.Wait()
	return err
}

// stopPatience is how long running handlers may go on when a worker stops.
const stopPatience = 5 * time.Second

// reportStatus says how the worker is until the context ends.
func reportStatus(ctx context.Context, w *redrive.Worker, o *observer, out *reports) {
	ticker := time.NewTicker(statusEvery)
	defer ticker.Stop()
	for {
		s := w.Snapshot()
		if s.Running {
			status := workerStatus{
				Breaker: s.Breaker.State.String(), ProbeDue: s.Breaker.ProbeDueAt,
				Running: s.Handlers, Waiting: s.Waiting, Suspects: s.Suspects, Retries: o.retries.Load(),
			}
			out.send(report{Status: &status})
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// observer writes down what is rare enough to be told one by one.
type observer struct {
	events  *eventFile
	retries atomic.Int64
}

// Observe implements redrive.Observer.
func (o *observer) Observe(e *redrive.Event) {
	line := event{At: e.At, Kind: string(e.Kind), Row: string(e.Row), Reason: e.Reason}
	switch e.Kind {
	case redrive.EventRetry:
		o.retries.Add(1)
		return
	case redrive.EventHandled, redrive.EventFailed, redrive.EventDuplicate, redrive.EventReleased, redrive.EventLeaseLost:
		return
	case redrive.EventBreaker:
		line.State = e.State.String()
	case redrive.EventDeadLettered, redrive.EventQuarantined:
		line.Category = e.Category.String()
	case redrive.EventMoveFailed, redrive.EventReceiveFailed, redrive.EventMarkFailed, redrive.EventInboxUnreachable,
		redrive.EventOutcomeFailed, redrive.EventOutcomeLost:
		if e.Err != nil {
			line.Text = e.Err.Error()
		}
	case redrive.EventSuspect, redrive.EventTimeout, redrive.EventStuck:
	}
	if e.Message != nil {
		line.Order, _ = orderID(e.Message.Header(headerOrder))
	}
	o.events.add(line)
}
