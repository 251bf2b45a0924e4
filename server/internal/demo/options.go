package demo

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redrive-dev/redrive/redrivetest/mutant"
)

// Options choose a run.
type Options struct {
	// Once ends the run when every order has found its place. Without it orders come
	// until the context ends.
	Once bool
	// Messages is the number of orders to publish with Once, at most 1,000,000.
	// Default: 10,000.
	Messages int
	// Rate is the number of orders published in a second. Default: 200; with Once,
	// so many that the last one is published in the middle of the outage.
	Rate int
	// Seed chooses what goes wrong with which order. Zero is a seed like any other.
	Seed uint64
	// DataDir is a folder that is empty or does not exist. Required.
	DataDir string
	// OutageAt is when the downstream goes down, and Outage for how long; zero for
	// no outage.
	OutageAt, Outage time.Duration
	// OutageEvery repeats the outage without Once. Default: 90 s, or twice Outage
	// if that is longer.
	OutageEvery time.Duration
	// Mutant is a known-bad variant of the broker for the workers, by its name in
	// Mutants. Default: none.
	Mutant string
	// Kills is how often the worker process is killed in the middle of a move.
	// Default: 0; with a Mutant 10. Negative for none.
	Kills int
	// Concurrency is how many handlers run at once. Default: 64.
	Concurrency int
	// MaxInFlight bounds the orders that the worker holds. Default: 4 times
	// Concurrency.
	MaxInFlight int
	// Lease is how long the broker waits before it gives the orders of a dead worker
	// to the next one. Default: 3 s.
	Lease time.Duration
	// RecoveryMax is the longest time between two probes of the downstream.
	// Default: 5 s.
	RecoveryMax time.Duration
	// RetryMax is the longest wait between two attempts. Default: 30 s.
	RetryMax time.Duration
	// Timeout ends a run with Once that does not settle. Default: 2 min more than
	// the outage takes.
	Timeout time.Duration
	// PictureAt is when Picture is called with what a terminal would show, if it is
	// not nil.
	PictureAt time.Duration
	Picture   func(Frame) error
}

// The defaults that the command line shows.
const (
	DefaultMessages = 10_000
	DefaultOutageAt = 4 * time.Second
	DefaultOutage   = 20 * time.Second
)

const (
	maxMessages = 1_000_000
	// maxEndless bounds a run that nobody ends: a day at the default rate.
	maxEndless = 20_000_000
	// endlessBlock is the block of a run without an end: one killer in half a minute.
	endlessBlock = 6_000
)

// WithDefaults returns a copy with the defaults filled in.
func (o Options) WithDefaults() Options {
	if o.Messages == 0 {
		o.Messages = DefaultMessages
	}
	if o.Rate == 0 {
		o.Rate = 200
		if o.Once {
			span := max(o.OutageAt+o.Outage/2, time.Second)
			o.Rate = max(1, int(float64(o.Messages)/span.Seconds()))
		}
	}
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&o.OutageEvery, max(90*time.Second, 2*o.Outage))
	def(&o.Lease, 3*time.Second)
	def(&o.RecoveryMax, 5*time.Second)
	def(&o.RetryMax, 30*time.Second)
	def(&o.Timeout, 2*time.Minute+o.OutageAt+o.Outage)
	if o.Concurrency == 0 {
		o.Concurrency = 64
	}
	if o.MaxInFlight == 0 {
		o.MaxInFlight = 4 * o.Concurrency
	}
	if o.Kills == 0 && o.Mutant != "" {
		o.Kills = 10
	}
	o.Kills = max(o.Kills, 0)
	return o
}

// Validate returns every problem of the options, joined, each naming its field.
// Call it on what WithDefaults returned.
func (o Options) Validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("demo: "+format, args...))
		}
	}
	check(o.DataDir != "", "DataDir: is missing")
	check(o.Messages >= 1 && o.Messages <= maxMessages, "Messages: %d must be 1 to %d", o.Messages, maxMessages)
	check(o.Rate >= 1 && o.Rate <= maxMessages, "Rate: %d must be 1 to %d", o.Rate, maxMessages)
	check(o.Mutant == "" || slices.Contains(Mutants(), o.Mutant), "Mutant: %q must be one of %s", o.Mutant, strings.Join(Mutants(), ", "))
	check(o.Concurrency >= 1 && o.Concurrency <= 10_000, "Concurrency: %d must be 1 to 10000", o.Concurrency)
	check(o.MaxInFlight >= o.Concurrency, "MaxInFlight: %d must not be less than Concurrency", o.MaxInFlight)
	check(o.Kills <= 1000, "Kills: %d must be at most 1000", o.Kills)
	check(o.OutageAt >= 0 && o.Outage >= 0, "OutageAt, Outage: must not be negative")
	check(o.OutageEvery > o.Outage, "OutageEvery: %v must be more than Outage", o.OutageEvery)
	check(o.Lease >= 100*time.Millisecond && o.Lease <= time.Hour, "Lease: %v must be 100 ms to 1 h", o.Lease)
	check(o.RecoveryMax >= 100*time.Millisecond, "RecoveryMax: %v must be at least 100 ms", o.RecoveryMax)
	check(o.RetryMax >= 100*time.Millisecond, "RetryMax: %v must be at least 100 ms", o.RetryMax)
	check(o.Timeout > 0, "Timeout: %v must be positive", o.Timeout)
	return errors.Join(errs...)
}

func (o Options) plan() Plan {
	if o.Once {
		return Plan{Seed: o.Seed, Block: o.Messages}
	}
	return Plan{Seed: o.Seed, Block: endlessBlock}
}

func (o Options) total() int {
	if o.Once {
		return o.Messages
	}
	return maxEndless
}

// reserve is the number of orders that are published last, one by one.
func (o Options) reserve() int {
	if !o.Once {
		return 0
	}
	return min(100, o.Messages/10)
}

// outages is when the downstream is down. The zero value is never.
type outages struct {
	Start  time.Time     `json:"start"`
	At     time.Duration `json:"at"`
	Length time.Duration `json:"length"`
	// Every repeats them, zero for one.
	Every time.Duration `json:"every,omitempty"`
}

func (o Options) outages(start time.Time) outages {
	out := outages{Start: start, At: o.OutageAt, Length: o.Outage}
	if !o.Once {
		out.Every = o.OutageEvery
	}
	return out
}

// down reports whether the downstream is down, and until when.
func (o outages) down(now time.Time) (until time.Time, down bool) {
	since := now.Sub(o.Start) - o.At
	if since < 0 || o.Length <= 0 {
		return time.Time{}, false
	}
	if o.Every > 0 {
		since %= o.Every
	}
	if since >= o.Length {
		return time.Time{}, false
	}
	return now.Add(o.Length - since), true
}

// Mutants lists the brokers that are wrong in a way that a run shows. The one that
// does not explain its releases needs workers that stop again and again.
func Mutants() []string {
	return slices.DeleteFunc(mutant.BrokerNames(), func(name string) bool { return name == mutant.ReleaseAsCrash })
}
