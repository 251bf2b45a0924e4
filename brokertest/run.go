package brokertest

import (
	"context"
	"testing"
	"time"

	"github.com/redrive-dev/redrive/broker"
)

// T is what a case needs of a *testing.T.
type T interface { //nolint:interfacebloat // the methods of *testing.T that the suite calls
	Helper()
	Name() string
	Context() context.Context
	Cleanup(f func())
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// Harness connects the suite to a broker.
type Harness struct {
	// Open connects a new client and closes it when the test ends. All clients
	// that one case opens reach the same broker. Required.
	Open func(t T) broker.Broker
	// Queue returns a logical queue name that nothing else uses. Default: the
	// argument, a dot and a number that is unique in this process and start.
	Queue func(t T, name string) string
	// Restart kills the broker and starts it again on the same data. Without it
	// the cases that need it only check what a restart of the client shows.
	Restart func(t T)
	// Kill ends a client without a goodbye, as kill -9 of its process would.
	// Without it the suite abandons the client, which holds its leases.
	Kill func(t T, b broker.Broker)
	// PublishRaw stores a message with the broker's own client: Headers and Control
	// are all plain headers to it. Without it such messages go through Publish.
	PublishRaw func(t T, queue string, m broker.Message)
	// Refuse makes a dead-letter queue refuse every message, as a full or missing one
	// does, until heal is called. Nothing else runs beside the cases that use it.
	// Without it refusals are injected between the worker and the adapter.
	Refuse func(t T, queue string) (heal func())
	// Link opens another client, over a connection that the case can damage. Its own
	// patience with the broker should be about a Lease. Without it the cases about
	// lost connections show nothing, and say so.
	Link func(t T) (broker.Broker, Link)
	// Hostile are the headers that a producer can store and that steer this broker
	// if they are sent again. Default: HostileHeaders(), all that any broker acts on.
	Hostile []broker.Header
	// Around runs the body of each case, such as synctest.Test does. Default: it is
	// just called.
	Around func(t *testing.T, run func(t *testing.T))
	// Lease is the shortest lease that the broker takes. Default: 1 s.
	Lease time.Duration
	// Tolerance is how late something may come. Default: 5 s.
	Tolerance time.Duration
	// Timeout bounds each case. Default: 60 s.
	Timeout time.Duration
	// Serial runs one case after the other.
	Serial bool
}

// Link is the connection of one client, which a case damages.
type Link interface {
	// DropRequests swallows from now on what the client sends, without a word.
	DropRequests()
	// DropAnswers swallows from now on what the broker sends.
	DropAnswers()
	// DropSettlements swallows everything, in both directions, from the moment on in
	// which the client is about to settle an original: a move of two steps ends after
	// its copy is confirmed, as if the client had died there.
	DropSettlements()
	// Cut ends the connection and refuses another one.
	Cut()
	// Heal ends every damage, and the connection with it: the client connects again.
	Heal()
}

// WithDefaults returns a copy with the defaults filled in.
func (h Harness) WithDefaults() Harness {
	if h.Queue == nil {
		h.Queue = uniqueName
	}
	if h.Around == nil {
		h.Around = func(t *testing.T, run func(t *testing.T)) { t.Helper(); run(t) }
	}
	if h.Hostile == nil {
		h.Hostile = HostileHeaders()
	}
	if h.Lease <= 0 {
		h.Lease = time.Second
	}
	if h.Tolerance <= 0 {
		h.Tolerance = 5 * time.Second
	}
	if h.Timeout <= 0 {
		h.Timeout = time.Minute
	}
	return h
}

// Case is one promise of the port and the way to test it.
type Case struct {
	// Name is the name of the subtest. A name that starts with "C" and a number is
	// one of the numbered cases of the adapter guide.
	Name string
	// Promise says in one sentence what is shown.
	Promise string
	// Restarts says that the case restarts the broker, or disturbs all of it in
	// another way, so that nothing else may run beside it.
	Restarts bool
	// Proves are the requirements that it is evidence for, by their IDs, besides
	// the one that its name begins with. See Requirements.
	Proves []string
	// Test is what a case of another suite does. The cases of this one have none.
	Test func(t T, h Harness)

	run func(*env)
}

// Run runs the case. It fails t on the first broken promise.
func (c Case) Run(t T, h Harness) {
	t.Helper()
	if h.Open == nil {
		t.Fatalf("brokertest: Harness.Open is missing")
	}
	if c.Test != nil {
		c.Test(t, h.WithDefaults())
		return
	}
	e := newEnv(t, h.WithDefaults())
	c.run(e)
}

// Run runs every case as a subtest of t: those that restart the broker first,
// one by one, then the others in parallel.
func Run(t *testing.T, h Harness) {
	t.Helper()
	RunCases(t, h, Cases())
}

// RunCases is Run for some cases, or for those of another suite.
func RunCases(t *testing.T, h Harness, cases []Case) {
	t.Helper()
	h = h.WithDefaults()
	for _, restarts := range []bool{true, false} {
		for _, c := range cases {
			if c.Restarts != restarts {
				continue
			}
			t.Run(c.Name, func(t *testing.T) {
				if !h.Serial && !restarts {
					t.Parallel()
				}
				h.Around(t, func(t *testing.T) { c.Run(t, h) })
			})
		}
	}
}

// Cases returns every case, in a fixed order.
func Cases() []Case {
	var all []Case
	for _, part := range [][]Case{publishCases(), contentCases(), settleCases(), leaseCases(), retryCases(), deadCases(), letterCases(), statsCases(), reportCases(), lifecycleCases(), linkCases(), restartCases()} {
		all = append(all, part...)
	}
	return all
}
