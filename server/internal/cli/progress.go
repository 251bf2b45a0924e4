package cli

import (
	"fmt"
	"time"
)

// progress tells a person how far a publication is: on a terminal in one line that
// is written over, elsewhere in a line now and then.
type progress struct {
	call     *call
	total    int64
	terminal bool
	started  time.Time
	told     time.Time
	shown    bool
}

func newProgress(c *call, total int64) *progress {
	now := c.Now()
	return &progress{call: c, total: total, terminal: c.IsTerminal(c.Stderr) && c.getenv("TERM") != "dumb", started: now, told: now}
}

// update tells how far it is, if it is time for that.
func (p *progress) update(published, record int, offset int64) {
	every := 5 * time.Second
	if p.terminal {
		every = 100 * time.Millisecond
	}
	now := p.call.Now()
	if p.call.flags.quiet || now.Sub(p.told) < every {
		return
	}
	p.told = now
	line := progressLine(published, record, offset, p.total, now.Sub(p.started))
	if !p.terminal {
		_, _ = fmt.Fprintln(p.call.Stderr, line)
		return
	}
	p.shown = true
	_, _ = fmt.Fprint(p.call.Stderr, "\r\x1b[K"+line)
}

// progressLine says how many messages are published, how fast, and how long the
// rest will take if it goes on like that.
func progressLine(published, record int, offset, total int64, took time.Duration) string {
	rate := float64(published) / max(took.Seconds(), 1e-3)
	line := fmt.Sprintf("published %d, at record %d, %.0f/s", published, record, rate)
	if total > 0 && offset > 0 {
		share := min(float64(offset)/float64(total), 1)
		left := time.Duration(float64(took) * (1 - share) / share)
		line += fmt.Sprintf(", %.0f %%, %s left", 100*share, span(left.Round(time.Second)))
	}
	return line
}

// clear takes the line away, so that something else can be told.
func (p *progress) clear() {
	if p.shown {
		_, _ = fmt.Fprint(p.call.Stderr, "\r\x1b[K")
		p.shown = false
	}
}

// end takes the line away for good.
func (p *progress) end() { p.clear() }
