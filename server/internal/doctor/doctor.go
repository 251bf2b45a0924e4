package doctor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/server/internal/config"
)

// Status is how a check ended.
type Status string

// The statuses.
const (
	// OK says that nothing is wrong.
	OK Status = "ok"
	// Warn says that something is not as it should be, and works.
	Warn Status = "warn"
	// Fail says that redrive does not start, or that messages would be lost.
	Fail Status = "fail"
)

// Check is one thing that was looked at.
type Check struct {
	// Status says how it is.
	Status Status `json:"status"`
	// Name is what was looked at, such as "broker local".
	Name string `json:"name"`
	// What was found, without secrets.
	What string `json:"what"`
	// Remedy says what to do, in one sentence without a full stop. It is empty if
	// there is nothing to do.
	Remedy string `json:"remedy,omitempty"`
}

// Broker is an open broker that can be looked at.
type Broker interface {
	// Server returns the server's name and version.
	Server() string
	// Inspect compares a subscription's queues with what it needs.
	Inspect(ctx context.Context, spec broker.Spec) (Inspection, error)
	// Storage returns how full it is.
	Storage(ctx context.Context) (Storage, error)
	// Clock compares its clock with now.
	Clock(ctx context.Context, now func() time.Time) (Clock, error)
	// Close closes it.
	Close(ctx context.Context) error
}

// Inspection is what a broker says about the queues of a subscription.
type Inspection struct {
	// Parts is what its queues are made of, such as "streams and consumers".
	Parts string
	// Missing are parts that the first start makes.
	Missing []string
	// Problems are settings for which redrive does not start.
	Problems []error
	// Notes say what settings of a stream of the user's mean.
	Notes []string
	// Facts say what the broker can and cannot do. Nothing is wrong with that.
	Facts []string
}

// Storage is how full a broker is, in bytes. A Limit below zero is none.
type Storage struct{ Used, Limit int64 }

// Clock is how far a broker's clock is ahead, and how sure that is.
type Clock struct{ Offset, Uncertainty time.Duration }

var (
	// ErrUnknownClock says that a broker does not tell its time yet.
	ErrUnknownClock = errors.New("it does not tell its time before it has a stream")
	// ErrNotTold says that a broker of this type never tells what was asked.
	ErrNotTold = errors.New("it does not tell")
)

// Platform is how doctor looks.
type Platform struct {
	// Connect opens a broker that runs. It starts none.
	Connect func(ctx context.Context, c config.Config, name string) (Broker, error)
	// NotRunning is the error of Connect for an embedded broker that does not run.
	NotRunning error
	// Holder tells which process has a data directory.
	Holder func(dataDir string) (pid int, held bool, err error)
	// TokenFile is the name of the broker's token in the data directory.
	TokenFile string
	// Inbox opens the inbox in a data directory to read.
	Inbox func(ctx context.Context, dataDir string) error
	// Free returns the free bytes of the disk of a folder, and Network the name of
	// its file system if that is on another machine.
	Free    func(folder string) (int64, error)
	Network func(folder string) (string, error)
	// Now is the clock.
	Now func() time.Time
}

// timeout bounds what is asked of one broker or endpoint.
const timeout = 10 * time.Second

// Examine looks at everything but the configuration itself, which must be valid,
// and tells report as it goes.
func Examine(ctx context.Context, p Platform, c config.Config, report func(Check)) {
	e := &examination{platform: p, config: c, report: report}
	e.files(ctx)
	for _, name := range slices.Sorted(maps.Keys(c.Brokers)) {
		if ctx.Err() == nil {
			e.broker(ctx, name)
		}
	}
	if ctx.Err() == nil {
		e.addresses(ctx)
	}
}

type examination struct {
	platform Platform
	config   config.Config
	report   func(Check)
	// held says that a process has the data directory, and unsure that this is not
	// known.
	held, unsure bool
}

func (e *examination) ok(name, format string, args ...any) {
	e.report(Check{Status: OK, Name: name, What: fmt.Sprintf(format, args...)})
}

func (e *examination) warn(name, remedy, format string, args ...any) {
	e.report(Check{Status: Warn, Name: name, What: fmt.Sprintf(format, args...), Remedy: remedy})
}

func (e *examination) fail(name, remedy, format string, args ...any) {
	e.report(Check{Status: Fail, Name: name, What: fmt.Sprintf(format, args...), Remedy: remedy})
}

// broker looks at one broker and at the queues that are on it.
func (e *examination) broker(ctx context.Context, name string) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	label, kind := "broker "+name, e.config.Brokers[name].Type
	b, err := e.platform.Connect(ctx, e.config, name)
	switch {
	case err != nil && kind == config.BrokerEmbedded && e.unsure:
		e.fail(label, "let this user read the data directory", "embedded, and whether it runs cannot be seen: %v", err)
		return
	case err != nil && kind == config.BrokerEmbedded && !e.held:
		// Also if it was killed, and its address is still there.
		e.ok(label, "embedded, not running: its queues were not looked at")
		return
	case errors.Is(err, e.platform.NotRunning):
		e.warn(label, "wait until it has started or stopped, and look again", "embedded, and the process that has the data directory does not say where it listens")
		return
	case err != nil:
		e.unreachable(label, err)
		return
	}
	defer func() { _ = b.Close(context.WithoutCancel(ctx)) }() // It was only read from.
	e.ok(label, "%s, %s", kind, b.Server())
	e.storage(ctx, label, name, b)
	e.clock(ctx, label, b)
	for _, s := range e.config.Subscriptions {
		if s.Broker == name {
			e.subscription(ctx, s, b)
		}
	}
}

func (e *examination) unreachable(label string, err error) {
	remedy := "see that the server runs, and correct its address or credentials"
	var hinter interface{ Hint() string }
	if errors.As(err, &hinter) && hinter.Hint() != "" {
		remedy = hinter.Hint()
	}
	if hinter, ok := err.(interface{ Unwrap() error }); ok && hinter.Unwrap() != nil {
		err = hinter.Unwrap() // Without the name of the broker, which is in the label.
	}
	e.fail(label, remedy, "%v", err)
}

// storage warns before the broker is full.
func (e *examination) storage(ctx context.Context, label, name string, b Broker) {
	label += " storage"
	s, err := b.Storage(ctx)
	if errors.Is(err, ErrNotTold) {
		return
	}
	if err != nil {
		e.fail(label, "see the server's log", "%v", err)
		return
	}
	if limit := int64(e.config.Brokers[name].MaxStore); s.Limit < 0 && e.config.Brokers[name].Type == config.BrokerEmbedded {
		s.Limit = limit
	}
	remedy := "make room: raise the limit, or empty dead-letter queues; when it is full, nothing is lost and nothing is accepted"
	switch {
	case s.Limit < 0:
		e.ok(label, "%s used, no limit", size(s.Used))
	case s.Used >= s.Limit/20*19:
		e.fail(label, remedy, "%s of %s used", size(s.Used), size(s.Limit))
	case s.Used >= s.Limit/5*4:
		e.warn(label, remedy, "%s of %s used", size(s.Used), size(s.Limit))
	default:
		e.ok(label, "%s of %s used", size(s.Used), size(s.Limit))
	}
}

// clock warns if retries would come too early or too late.
func (e *examination) clock(ctx context.Context, label string, b Broker) {
	label += " clock"
	c, err := b.Clock(ctx, e.platform.Now)
	if errors.Is(err, ErrNotTold) {
		return
	}
	if errors.Is(err, ErrUnknownClock) {
		e.ok(label, "not compared: %v", err)
		return
	}
	if err != nil {
		e.fail(label, "see the server's log", "%v", err)
		return
	}
	const (
		late   = time.Second
		absurd = time.Minute
	)
	remedy := "let a time service (NTP) set the clocks of both machines: retries come as much too early or too late"
	sure := c.Offset.Abs() - c.Uncertainty
	switch text := fmt.Sprintf("the server is %v %s, ± %v", round(c.Offset.Abs()), direction(c.Offset), round(c.Uncertainty)); {
	case sure > absurd:
		e.fail(label, remedy, "%s", text)
	case sure > late:
		e.warn(label, remedy, "%s", text)
	default:
		e.ok(label, "%s", text)
	}
}

func direction(d time.Duration) string {
	if d < 0 {
		return "behind"
	}
	return "ahead"
}

// round keeps what can be read.
func round(d time.Duration) time.Duration {
	switch {
	case d > time.Second:
		return d.Round(100 * time.Millisecond)
	case d > time.Millisecond:
		return d.Round(100 * time.Microsecond)
	}
	return d.Round(time.Microsecond)
}

// subscription looks for its queues.
func (e *examination) subscription(ctx context.Context, s config.Subscription, b Broker) {
	label := "queues of " + s.Source
	if s.Group != broker.DefaultGroup {
		label += " for " + s.Group
	}
	found, err := b.Inspect(ctx, broker.Spec{Source: s.Source, Group: s.Group, Lease: time.Duration(s.Lease), MaxInFlight: s.MaxInFlight, Accept: s.Accept})
	if found.Parts == "" {
		found.Parts = "queues"
	}
	if err != nil {
		e.fail(label, "see whether the user may ask for "+found.Parts, "%v", err)
		return
	}
	for _, p := range found.Problems {
		e.fail(label, "change it there: redrive never alters what it did not make, and does not start until it is right", "%v", p)
	}
	for _, note := range found.Notes {
		e.warn(label, "see whether that is meant", "%s", trimStop(note))
	}
	for _, fact := range found.Facts {
		e.ok(label, "%s", trimStop(fact))
	}
	switch {
	case len(found.Problems) > 0:
	case len(found.Missing) > 0:
		e.ok(label, "%d of its %s are not there yet: the first start makes them", len(found.Missing), found.Parts)
	default:
		e.ok(label, "source, retry, dead letters and quarantines are there")
	}
}

func trimStop(s string) string {
	if n := len(s); n > 0 && s[n-1] == '.' {
		return s[:n-1]
	}
	return s
}

// size is a number of bytes for people.
func size(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	value, names := float64(n)/unit, []string{"KiB", "MiB", "GiB", "TiB"}
	for value >= unit && len(names) > 1 {
		value, names = value/unit, names[1:]
	}
	return fmt.Sprintf("%.1f %s", value, names[0])
}
