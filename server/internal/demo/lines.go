package demo

import (
	"fmt"
	"io"
)

// plainLines tells what happens where no terminal is.
type plainLines struct{ w io.Writer }

// status writes one line about a moment.
func (p plainLines) status(f Frame) {
	published := thousands(f.Published)
	if f.Total > 0 {
		published += "/" + thousands(f.Total)
	}
	breaker := f.Breaker
	if breaker == "" {
		breaker = "no worker"
	}
	p.write("%s  published %s  handled %s (%s/s)  source %s  retry %s  dlq %s  quarantined %s  breaker %s",
		clock(f.Elapsed), published, thousands(f.Handled), thousands(f.Out), thousands(f.Source), thousands(f.Retry), thousands(f.DeadLetters),
		thousands(f.QuarantinedTransient+f.QuarantinedCrashed+f.QuarantinedOther), breaker)
}

// event writes one line about an event.
func (p plainLines) event(e Entry) {
	p.write("%s  %s", clock(e.Elapsed), clip(Line{{e.line(), Plain}}, 1000))
}

// write ignores errors: who does not listen any more does not end the run.
func (p plainLines) write(format string, args ...any) { _, _ = fmt.Fprintf(p.w, format+"\n", args...) }
