package inprocess

import (
	"github.com/redrive-dev/redrive/bench/rounds"
)

// Experiments are those of this package, with the given number of rounds.
func Experiments(n int, quick bool) []rounds.Experiment {
	t := newTimer(quick)
	return []rounds.Experiment{
		{
			ID: "limits", Group: group, Title: "What the machine can do", Rounds: n,
			Method:   "For scale: what one reading of the clock and one confirmed write to the disk cost here. Nothing that needs them is faster.",
			Subjects: t.limits(),
		},
		t.breaker(n, false), t.breaker(n, true), t.composed(n, false), t.composed(n, true),
		{
			ID: "failure", Group: group, Title: "One failing attempt", Rounds: n,
			Method: "From the error that a handler returned (two wraps around `ECONNREFUSED`) to the history in memory: `failure.Classify`, `decision.Decide` over the whole table, " +
				"one entry appended to the message's envelope. A failing message also pays for its signature and the encoded envelope (here with three attempts), once for each move.",
			Subjects: t.failures(),
			Targets: []rounds.Target{
				{Name: "failing attempt classified, decided and recorded: time", Of: attemptName, Metric: rounds.Nanoseconds, Limit: 400},
				{Name: "failing attempt classified, decided and recorded: allocations", Of: attemptName, Metric: rounds.Allocations, Limit: 4},
				{Name: "signature and encoded envelope together", Of: encodeName, Metric: rounds.Nanoseconds, Limit: 10_000},
			},
		},
		{
			ID: "worker", Group: group, Title: "The worker's own path", Rounds: n,
			Method: "Messages that succeed, 64 handlers at once, 256 in flight, the whole default policy with the handler's timeout on, over a broker in memory that does nothing. " +
				"The worker's own path is the first row less the second, which receives from the same broker, calls the handler and settles in a bare loop.",
			Subjects: t.worker(),
			Targets: []rounds.Target{
				{Name: "worker's own path for a message that succeeds: time", Of: workerName, Less: loopName, Metric: rounds.Nanoseconds, Limit: 2_000},
				{Name: "worker's own path for a message that succeeds: allocations", Of: workerName, Less: loopName, Metric: rounds.Allocations, Limit: 8},
			},
		},
		{
			ID: "inflight", Group: group, Title: "Memory of 4,096 handlers in flight", Rounds: min(n, 5), Remote: true,
			Method: "A process of its own whose worker runs 4,096 handlers at once, each with a message of 1 KiB, over the broker in memory. " +
				"Peak resident memory of the whole process, which holds the code of this program too: the second row is the same process without a worker.",
			Subjects: []rounds.Subject{
				{Name: inFlightName, Measure: memory(RoleInFlight)},
				{Name: idleName, Measure: memory(inFlightNone)},
			},
			Targets: []rounds.Target{{Name: "4,096 handlers in flight: resident memory of the process", Of: inFlightName, Metric: rounds.Mebibytes, Limit: 64}},
		},
	}
}

func (t timer) breaker(n int, several bool) rounds.Experiment {
	e := rounds.Experiment{
		ID: "breaker", Group: group, Title: "Circuit breaker, success, one goroutine", Rounds: n,
		Method: "A call that does nothing and succeeds, behind a closed breaker that counts failures. `redrive` is `redrive.Execute`, which reads the clock itself, " +
			"as the others do; mercari's reads none while it is closed. " + "The row below it is what the worker does, which has the time already.",
		Subjects: t.subjects(breakers(), several), Against: gobreakerName, Metric: rounds.Nanoseconds,
	}
	suffix := ", one goroutine"
	if several {
		e.ID, e.Title, suffix = "breaker8", "Circuit breaker, success, eight goroutines", ", eight goroutines"
		e.Method = "The same with one breaker that eight goroutines share; the time is that of the whole divided by the number of calls."
	}
	e.Targets = []rounds.Target{
		{Name: "breaker, success" + suffix + ": time", Of: redriveName, Metric: rounds.Nanoseconds, Limit: 60},
		{Name: "breaker, success" + suffix + ": allocations", Of: redriveName, Metric: rounds.Allocations, Limit: 0},
		{Name: "breaker, success" + suffix + ": against gobreaker", Of: redriveName, Metric: rounds.Nanoseconds, Per: gobreakerName, Limit: 0.6},
	}
	return e
}

func (t timer) composed(n int, several bool) rounds.Experiment {
	e := rounds.Experiment{
		ID: "composed", Group: group, Title: "Retry and breaker composed, success, one goroutine", Rounds: n,
		Method: "A call that succeeds at the first attempt, behind five attempts with exponential delays and a breaker: `redrive.Retrier`, " +
			"`backoff.Retry` around gobreaker, and failsafe-go's executor with both policies.",
		Subjects: t.subjects(composed(), several), Against: nestedName, Metric: rounds.Nanoseconds,
	}
	suffix := ", one goroutine"
	if several {
		e.ID, e.Title, suffix = "composed8", "Retry and breaker composed, success, eight goroutines", ", eight goroutines"
		e.Method = "The same with one instance that eight goroutines share."
	}
	e.Targets = []rounds.Target{
		{Name: "retry and breaker, success" + suffix + ": time", Of: redriveName, Metric: rounds.Nanoseconds, Limit: 110},
		{Name: "retry and breaker, success" + suffix + ": allocations", Of: redriveName, Metric: rounds.Allocations, Limit: 0},
		{Name: "retry and breaker, success" + suffix + ": against backoff and gobreaker", Of: redriveName, Metric: rounds.Nanoseconds, Per: nestedName, Limit: 0.4},
	}
	return e
}
