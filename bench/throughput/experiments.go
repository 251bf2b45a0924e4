package throughput

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/redrive-dev/redrive/bench/rounds"
)

const group = "On NATS JetStream"

// Names of subjects.
const (
	redriveName   = "redrive"
	rawName       = "raw client loop"
	watermillName = "Watermill, 1 subscription"
	eightName     = "Watermill, 8 subscriptions"
)

// sizes are the numbers of messages.
type sizes struct {
	healthy, healthyAlways            int
	failingOne, failingTen            int
	alwaysOne, alwaysTen              int
	watermillOne, watermillTen        int
	eightOne, eightTen, latencyLength int
}

func sizesFor(quick bool) sizes {
	if quick {
		// Every tenth of more than these would wait for the retry budget.
		return sizes{2_000, 400, 2_000, 300, 400, 300, 200, 100, 400, 400, 500}
	}
	return sizes{
		healthy: 100_000, healthyAlways: 15_000,
		failingOne: 200_000, failingTen: 200_000, alwaysOne: 20_000, alwaysTen: 10_000,
		watermillOne: 4_000, watermillTen: 600, eightOne: 20_000, eightTen: 4_000,
		latencyLength: 3_000,
	}
}

// Experiments are those of this package, with the given number of rounds.
func Experiments(n int, quick bool) []rounds.Experiment {
	z := sizesFor(quick)
	return []rounds.Experiment{
		healthy(n, z.healthy, false), healthy(n, z.healthyAlways, true),
		failing(n, 1, z, false), failing(n, 10, z, false),
		failing(n, 1, z, true), failing(n, 10, z, true),
		latency(n, z.latencyLength),
	}
}

func setting(always bool) string {
	if always {
		return "always"
	}
	return "default"
}

// id names an experiment, with the sync setting at the end.
func id(name string, always bool) string { return name + "-" + setting(always) }

func healthy(n, total int, always bool) rounds.Experiment {
	l := load{total: total}
	e := rounds.Experiment{
		ID: id("healthy", always), Group: group, Title: "Consume and settle, nothing fails, sync `" + setting(always) + "`", Rounds: n,
		Method: thousands(total) + " messages. The raw loop pulls from the source's consumer with the client library, calls the same handler and acknowledges with `DoubleAck`, " +
			"which waits for the server's confirmation as redrive does.",
		Against: rawName, Metric: rounds.Rate,
		Targets: []rounds.Target{{
			Name: "consume and settle, sync " + setting(always) + ": against the raw loop",
			Of:   redriveName, Metric: rounds.Rate, Per: rawName, AtLeast: true, Limit: 0.9,
		}},
	}
	for _, c := range []contender{redriveWorker(), rawLoop()} {
		e.Subjects = append(e.Subjects, rounds.Subject{Name: c.name, Measure: drain(c, l, always)})
	}
	return e
}

// floors are the least ratios to Watermill, with one subscription and with eight.
func floors(percent int, always bool) (one, eight float64) {
	switch {
	case always && percent == 1:
		return 4, 0
	case always:
		return 15, 0
	case percent == 1:
		return 30, 5
	}
	return 200, 30
}

func failing(n, percent int, z sizes, always bool) rounds.Experiment {
	total, one, eight := z.failingOne, z.watermillOne, z.eightOne
	if percent == 10 {
		total, one, eight = z.failingTen, z.watermillTen, z.eightTen
	}
	switch {
	case always && percent == 1:
		total = z.alwaysOne
	case always:
		total = z.alwaysTen
	}
	of := func(total int) load { return load{total: total, failing: total * percent / 100} }
	name := fmt.Sprintf("%d %% failing, sync %s", percent, setting(always))
	e := rounds.Experiment{
		ID: id(fmt.Sprintf("failing%d", percent), always), Group: group, Rounds: n,
		Title:   fmt.Sprintf("%d %% of messages fail for good, sync `%s`", percent, setting(always)),
		Against: rawName, Metric: rounds.Rate,
	}
	add := func(c contender, total int, always bool) {
		e.Subjects = append(e.Subjects, rounds.Subject{Name: c.name, Measure: drain(c, of(total), always)})
	}
	add(redriveWorker(), total, always)
	add(rawLoop(), total, always)
	add(watermillRouter(watermillName, 1), one, always)
	counts := fmt.Sprintf("%s messages; Watermill gets fewer, %s with one subscription", thousands(total), thousands(one))
	floor, floorEight := floors(percent, always)
	e.Targets = []rounds.Target{
		{Name: name + ": against the raw loop", Of: redriveName, Metric: rounds.Rate, Per: rawName, AtLeast: true, Limit: 0.9},
		{Name: name + ": against Watermill, 1 subscription", Of: redriveName, Metric: rounds.Rate, Per: watermillName, AtLeast: true, Limit: floor},
	}
	if !always {
		add(watermillRouter(eightName, 8), eight, always)
		counts += fmt.Sprintf(" and %s with eight", thousands(eight))
		e.Targets = append(e.Targets, rounds.Target{
			Name: name + ": against Watermill, 8 subscriptions", Of: redriveName, Metric: rounds.Rate, Per: eightName, AtLeast: true, Limit: floorEight,
		})
	}
	e.Method = counts + ", because one that fails holds a subscription for 70 ms there; rates are compared." + budgetNote(percent)
	return e
}

func budgetNote(percent int) string {
	if percent < tenth {
		return " redrive has its default budget of retries."
	}
	return " redrive's retry budget is 0.5 retries for each first attempt: with its default of 0.2 " +
		"a tenth of all messages failing three times more would be slowed down on purpose."
}

const (
	oneName = ", 1 % failing"
	noName  = ", 0 % failing"
)

func latency(n, total int) rounds.Experiment {
	e := rounds.Experiment{
		ID: "latency", Group: group, Title: "How long healthy messages wait", Rounds: n,
		Method: fmt.Sprintf("%s messages, one every 2 ms, sync `default`. From the moment at which a message should be published until its handler starts; "+
			"a message that is published late counts its lateness. The first fifth warms up and is left out. Failing messages are not in the figures, what they do to the others is.", thousands(total)),
	}
	for _, c := range []contender{redriveWorker(), rawLoop(), watermillRouter(watermillName, 1), watermillRouter(eightName, 8)} {
		e.Subjects = append(e.Subjects,
			rounds.Subject{Name: c.name + noName, Measure: wait(c, load{total: total})},
			rounds.Subject{Name: c.name + oneName, Measure: wait(c, load{total: total, failing: total / 100})},
		)
	}
	e.Targets = []rounds.Target{{
		Name: "p99 of healthy messages at 1 % failing: against 0 %", Of: redriveName + oneName, Metric: rounds.P99, Per: redriveName + noName, Limit: 1.2,
	}}
	return e
}

// thousands writes a number with commas.
func thousands(n int) string {
	s := strconv.Itoa(n)
	var parts []string
	for len(s) > 3 {
		parts = append([]string{s[len(s)-3:]}, parts...)
		s = s[:len(s)-3]
	}
	return strings.Join(append([]string{s}, parts...), ",")
}
