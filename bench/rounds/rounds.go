package rounds

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// Metric is what a number counts, with its unit.
type Metric string

// The metrics.
const (
	Nanoseconds  Metric = "ns"
	Allocations  Metric = "allocs"
	Rate         Metric = "msg/s"
	ClientCPU    Metric = "client CPU, µs/msg"
	ServerCPU    Metric = "server CPU, µs/msg"
	P50          Metric = "p50, ms"
	P99          Metric = "p99, ms"
	Milliseconds Metric = "ms"
	Mebibytes    Metric = "MiB"
	Megabytes    Metric = "MB"
)

// Sample is what one measurement found.
type Sample map[Metric]float64

// Subject is something that can be measured again and again.
type Subject struct {
	// Name is unique within an experiment.
	Name string
	// Measure takes one measurement. It must leave nothing behind that the next
	// subject could feel.
	Measure func(ctx context.Context) (Sample, error)
}

// Series is one metric of one subject, a value for each round.
type Series struct {
	Subject string    `json:"subject"`
	Metric  Metric    `json:"metric"`
	Values  []float64 `json:"values"`
}

// Outcome is what came of all rounds.
type Outcome struct {
	Series []Series `json:"series"`
	// Repeated lists measurements that failed and were taken again.
	Repeated []string `json:"repeated,omitempty"`
}

// Progress is told of every measurement.
type Progress func(round int, subject string, s Sample, err error)

// ErrNothing says that a subject measured nothing.
var ErrNothing = errors.New("nothing was measured")

// ErrUnavailable says that something that a subject needs cannot be had on this
// machine.
var ErrUnavailable = errors.New("not available here")

// Run measures every subject once in each round. The round begins with another
// subject each time, so that no subject always comes after the same one's dirt.
// A measurement that fails is taken once more, so that one accident does not end
// a run of many minutes; the second failure does.
func Run(ctx context.Context, n int, subjects []Subject, tell Progress) (Outcome, error) {
	var out Outcome
	found := make([][]Sample, len(subjects))
	for round := range n {
		for _, i := range Order(round, len(subjects)) {
			s, err := measure(ctx, subjects[i])
			if err != nil && ctx.Err() == nil && !errors.Is(err, ErrUnavailable) {
				tell(round, subjects[i].Name, nil, err)
				out.Repeated = append(out.Repeated, fmt.Sprintf("round %d, %s: %v", round+1, subjects[i].Name, err))
				s, err = measure(ctx, subjects[i])
			}
			if err != nil {
				return out, fmt.Errorf("round %d, %s: %w", round+1, subjects[i].Name, err)
			}
			tell(round, subjects[i].Name, s, nil)
			found[i] = append(found[i], s)
		}
	}
	for i, subject := range subjects {
		out.Series = append(out.Series, series(subject.Name, found[i])...)
	}
	return out, nil
}

func measure(ctx context.Context, subject Subject) (Sample, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	s, err := subject.Measure(ctx)
	if err == nil && len(s) == 0 {
		err = ErrNothing
	}
	return s, err
}

// series sorts samples by metric. A metric that one of them lacks is left out:
// without a value for each round nothing can be paired.
func series(subject string, samples []Sample) []Series {
	if len(samples) == 0 {
		return nil
	}
	var metrics []Metric
	for m := range samples[0] {
		metrics = append(metrics, m)
	}
	slices.Sort(metrics)
	var out []Series
	for _, m := range metrics {
		values := make([]float64, 0, len(samples))
		for _, s := range samples {
			if v, ok := s[m]; ok {
				values = append(values, v)
			}
		}
		if len(values) == len(samples) {
			out = append(out, Series{Subject: subject, Metric: m, Values: values})
		}
	}
	return out
}

// Order is the order in which n subjects are measured in a round: rotated by one
// from round to round.
func Order(round, n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = (i + round) % n
	}
	return out
}

// Find returns the values of a metric of a subject, nil if there are none.
func Find(all []Series, subject string, metric Metric) []float64 {
	for _, s := range all {
		if s.Subject == subject && s.Metric == metric {
			return s.Values
		}
	}
	return nil
}

// Experiment is a comparison that is shown in one table.
type Experiment struct {
	// ID names it on the command line.
	ID string
	// Group is the part of the page that it belongs to, Title its heading, and
	// Method what a reader has to know to repeat it and to judge it.
	Group, Title, Method string
	// Rounds is how often each subject is measured.
	Rounds int
	// Subjects are what is measured.
	Subjects []Subject
	// Against names the subject that the others are divided by in the table, by
	// Metric; empty for none.
	Against string
	Metric  Metric
	// Targets are what the figures are held to.
	Targets []Target
	// Remote says that the work is done by another process, of which a profile of
	// this one tells nothing.
	Remote bool
}
