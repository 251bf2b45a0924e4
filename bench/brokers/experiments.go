package brokers

import (
	"context"
	"fmt"

	"github.com/redrive-dev/redrive/bench/rounds"
)

// Names of subjects.
const (
	redriveName = "redrive"
	rawName     = "raw client loop"
	noName      = "redrive, 0 % failing"
	oneName     = "redrive, 1 % failing"
)

// Systems are the brokers that are measured, with the servers that run.
type Systems []*system

// New lists the brokers.
func New(quick bool) Systems {
	if quick {
		return Systems{
			kafka(sizes{2_000, 500, 400, 40}), rabbitMQ(sizes{2_000, 500, 400, 40}), amazonSQS(sizes{300, 200, 100, 20}),
		}
	}
	return Systems{
		kafka(sizes{50_000, 20_000, 2_500, 400}), rabbitMQ(sizes{30_000, 10_000, 2_500, 400}), amazonSQS(sizes{5_000, 2_000, 1_000, 200}),
	}
}

// Experiments are those of this package, with the given number of rounds.
func (s Systems) Experiments(n int) []rounds.Experiment {
	var out []rounds.Experiment
	for _, one := range s {
		out = append(out, one.experiments(n)...)
	}
	return out
}

func (s *system) experiments(n int) []rounds.Experiment {
	q, z, group := &queues{}, s.sizes, "On "+s.name
	raw := func(ctx context.Context, at *site, dead bool, t *tally) error {
		return s.drain(ctx, at.url, at.queue, dead, t)
	}
	compared := func(id, title, what string, total int, dead bool, ratio float64) rounds.Experiment {
		return rounds.Experiment{
			ID: s.id + "-" + id, Group: group, Title: title + ", " + s.name, Rounds: n,
			Method:  fmt.Sprintf("%d messages of %d bytes, from the first call of the handler until the last confirmation. %s", total, bodySize, s.loop),
			Against: rawName, Metric: rounds.Rate,
			Targets: []rounds.Target{{
				Name: s.name + ", " + what + ": against the raw loop", Of: redriveName, Metric: rounds.Rate, Per: rawName, AtLeast: true, Limit: ratio,
			}},
			Subjects: []rounds.Subject{
				{Name: redriveName, Measure: s.backlog(q, total, dead, consumeOurs)},
				{Name: rawName, Measure: s.backlog(q, total, dead, raw)},
			},
		}
	}
	return []rounds.Experiment{
		compared("healthy", "Consume and settle, nothing fails", "consume and settle", z.healthy, false, s.ratio),
		compared("dead", "Move to the dead-letter queue, everything fails for good", "dead-letter move", z.dead, true, 0.9),
		{
			ID: s.id + "-latency", Group: group, Title: "How long healthy messages wait, " + s.name, Rounds: n,
			Method: fmt.Sprintf("%d messages, one every %v. From the moment at which a message should be published until its handler starts; "+
				"a message that is published late counts its lateness. The first fifth warms up and is left out. Failing messages fail four times, and are not in the figures.", z.latency, s.arrival),
			Subjects: []rounds.Subject{
				{Name: noName, Measure: s.latency(q, z.latency, 0)}, {Name: oneName, Measure: s.latency(q, z.latency, 1)},
			},
			Targets: []rounds.Target{{
				Name: s.name + ", p99 of healthy messages at 1 % failing: against 0 %", Of: oneName, Metric: rounds.P99, Per: noName, Limit: 1.2,
			}},
		},
		{
			ID: s.id + "-late", Group: group, Title: "How late a retry runs, " + s.name, Rounds: n,
			Method: fmt.Sprintf("%d messages, one every %v, each of which fails once and is tried again 1 to 3 s later. From the time that the adapter announced until the handler starts. %s",
				z.late, s.arrival, s.delays),
			Subjects: []rounds.Subject{{Name: redriveName, Measure: s.lateness(q, z.late)}},
			Targets: []rounds.Target{{
				Name: s.name + ", lateness of a retry, p99", Of: redriveName, Metric: rounds.P99, Limit: float64(s.late.Milliseconds()),
			}},
		},
	}
}
