package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"runtime/pprof"
	"slices"
	"strings"
	"time"

	"github.com/redrive-dev/redrive/bench/report"
	"github.com/redrive-dev/redrive/bench/rounds"
)

// runner measures experiments one after the other and says how far it is.
type runner struct {
	progress io.Writer
	start    time.Time
	// limit is the time after which each further experiment has one round only.
	limit time.Duration
	// sampled is how long a profile samples at least: a short measurement is
	// repeated.
	sampled time.Duration
}

func (r *runner) say(format string, args ...any) {
	at := time.Since(r.start).Round(time.Second)
	_, _ = fmt.Fprintf(r.progress, "%6s  %s\n", at, fmt.Sprintf(format, args...))
}

// run measures one experiment, and afterwards looks with a profile at every target
// that was missed.
func (r *runner) run(ctx context.Context, e rounds.Experiment, number, of int) (report.Result, error) {
	if r.limit > 0 && time.Since(r.start) > r.limit {
		e.Rounds = min(e.Rounds, 1)
	}
	r.say("%d of %d: %s (%s), %d rounds", number, of, e.Title, e.ID, e.Rounds)
	outcome, err := rounds.Run(ctx, e.Rounds, e.Subjects, func(round int, subject string, s rounds.Sample, err error) {
		if err != nil {
			r.say("    round %d  %-48s failed, once more: %v", round+1, subject, err)
			return
		}
		r.say("    round %d  %-48s %s", round+1, subject, describe(s))
	})
	result := report.Result{
		ID: e.ID, Group: e.Group, Title: e.Title, Method: e.Method, Rounds: e.Rounds,
		Against: e.Against, Metric: e.Metric, Targets: e.Targets, Outcome: outcome,
	}
	if err != nil {
		result.Failed = err.Error()
		return result, fmt.Errorf("%s: %w", e.ID, err)
	}
	for _, t := range e.Targets {
		j := rounds.Judge(t, outcome.Series)
		if !j.Known || j.Met || e.Remote || slices.ContainsFunc(result.Profiles, func(p report.Profile) bool { return p.Subject == t.Of }) {
			continue
		}
		r.say("    missed: %s; taking a profile", t.Name)
		profile, err := r.profiled(ctx, e, t.Of)
		if err != nil {
			return result, fmt.Errorf("%s: profile of %s: %w", e.ID, t.Of, err)
		}
		result.Profiles = append(result.Profiles, profile)
	}
	return result, nil
}

func describe(s rounds.Sample) string {
	var parts []string
	for m, v := range s {
		parts = append(parts, fmt.Sprintf("%s %s", report.Number(v), m))
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}

// profiled measures a subject again, with the profiler on. The figures are thrown
// away.
func (r *runner) profiled(ctx context.Context, e rounds.Experiment, subject string) (report.Profile, error) {
	i := slices.IndexFunc(e.Subjects, func(s rounds.Subject) bool { return s.Name == subject })
	var raw bytes.Buffer
	if err := pprof.StartCPUProfile(&raw); err != nil {
		return report.Profile{}, err
	}
	var err error
	for start := time.Now(); err == nil; {
		_, err = e.Subjects[i].Measure(ctx)
		if time.Since(start) >= r.sampled {
			break
		}
	}
	pprof.StopCPUProfile()
	if err != nil {
		return report.Profile{}, err
	}
	return report.ReadProfile(subject, &raw)
}
