package admin

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Check asks one thing whether it works.
type Check struct {
	// Name says what is asked, such as "broker local".
	Name string
	// Run returns what is wrong, nil if nothing is. It ends with the context.
	Run func(ctx context.Context) error
}

// Prober runs checks for whoever asks. Answers are kept for a short time, so that
// many askers are no load on what they ask about. It is safe for concurrent use.
type Prober struct {
	checks  []Check
	timeout time.Duration
	maxAge  time.Duration
	now     func() time.Time
	// slot is held while checks run, and guards what follows.
	slot    chan struct{}
	at      time.Time
	answers []error
}

// NewProber returns a prober that gives each check two seconds and keeps answers
// for half a second.
func NewProber(checks []Check, now func() time.Time) *Prober {
	return &Prober{checks: checks, timeout: 2 * time.Second, maxAge: 500 * time.Millisecond, now: now, slot: make(chan struct{}, 1)}
}

// Ready returns what is wrong with each check, nil where nothing is, in the order
// of the checks. All checks run at the same time.
func (p *Prober) Ready(ctx context.Context) []error {
	select {
	case p.slot <- struct{}{}:
		defer func() { <-p.slot }()
	case <-ctx.Done():
		return []error{fmt.Errorf("the checks did not end in time: %w", context.Cause(ctx))}
	}
	if p.answers != nil && p.now().Sub(p.at) < p.maxAge {
		return p.answers
	}
	answers := make([]error, len(p.checks))
	var wait sync.WaitGroup
	for i, c := range p.checks {
		wait.Go(func() {
			if err := p.run(ctx, c); err != nil {
				answers[i] = fmt.Errorf("%s: %w", c.Name, err)
			}
		})
	}
	wait.Wait()
	if ctx.Err() == nil {
		// An asker that went away says nothing about what was asked.
		p.answers, p.at = answers, p.now()
	}
	return answers
}

func (p *Prober) run(ctx context.Context, c Check) error {
	ctx, cancel := context.WithTimeoutCause(ctx, p.timeout, errors.New("no answer within "+p.timeout.String()))
	defer cancel()
	err := c.Run(ctx)
	if err != nil && errors.Is(err, context.DeadlineExceeded) {
		return context.Cause(ctx)
	}
	return err
}
