package retry_test

import (
	"container/heap"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/redrive-dev/redrive/retry"
)

// The experiment of "Exponential Backoff and Jitter": clients that want to write
// one row read its version, then write if the version is still the same, and back
// off if it is not. Each message takes N(10 ms, 2 ms) on the network. All clients
// start at one moment.
//
// The published program doubles before the first wait, so its base of 5 ms is a
// Base of 10 ms here.
const (
	publishedBase = 10 * time.Millisecond
	publishedMax  = 2 * time.Second
)

type contentionEvent struct {
	at       time.Duration
	client   int
	arriving contentionStep
	version  int
}

type contentionStep uint8

const (
	readAtServer contentionStep = iota
	readAtClient
	writeAtServer
	wonAtClient
	lostAtClient
)

type contentionQueue []contentionEvent

func (q contentionQueue) Len() int           { return len(q) }
func (q contentionQueue) Less(i, j int) bool { return q[i].at < q[j].at }
func (q contentionQueue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *contentionQueue) Push(x any)        { *q = append(*q, x.(contentionEvent)) }
func (q *contentionQueue) Pop() any {
	old := *q
	last := old[len(old)-1]
	*q = old[:len(old)-1]
	return last
}

// contend runs the experiment once: the number of writes that were tried, and
// when the last client was told of its success.
func contend(clients int, s retry.Strategy, r *rand.Rand) (calls int, completion time.Duration) {
	var (
		queue    contentionQueue
		version  int
		attempts = make([]int, clients)
		previous = make([]time.Duration, clients)
	)
	send := func(e contentionEvent, wait time.Duration, to contentionStep) {
		network := time.Duration(math.Abs(10+2*r.NormFloat64()) * float64(time.Millisecond))
		e.at, e.arriving = e.at+wait+network, to
		heap.Push(&queue, e)
	}
	for c := range clients {
		send(contentionEvent{client: c}, 0, readAtServer)
	}
	for queue.Len() > 0 {
		e := heap.Pop(&queue).(contentionEvent)
		switch e.arriving {
		case readAtServer:
			e.version = version
			send(e, 0, readAtClient)
		case readAtClient:
			send(e, 0, writeAtServer)
		case writeAtServer:
			calls++
			if e.version == version {
				version++
				send(e, 0, wonAtClient)
			} else {
				send(e, 0, lostAtClient)
			}
		case wonAtClient:
			completion = max(completion, e.at)
		case lostAtClient:
			attempts[e.client]++
			previous[e.client] = s.Delay(attempts[e.client], previous[e.client], r)
			send(e, previous[e.client], readAtServer)
		}
	}
	return calls, completion
}

func contendMean(clients int, s retry.Strategy, runs int) (calls, milliseconds float64) {
	r := rand.New(rand.NewPCG(1, 2))
	for range runs {
		c, d := contend(clients, s, r)
		calls += float64(c)
		milliseconds += float64(d) / float64(time.Millisecond)
	}
	return calls / float64(runs), milliseconds / float64(runs)
}

func TestContentionAsPublished(t *testing.T) {
	doubled := func(j retry.Jitter) retry.Strategy {
		return retry.Strategy{Jitter: j, Base: publishedBase, Max: publishedMax}
	}
	table := []struct {
		name     string
		strategy retry.Strategy
		// Mean calls and completion in milliseconds, for 100 and for 190 clients; zero
		// where there is no figure.
		calls100, done100, calls190, done190 float64
	}{
		{"no backoff", retry.Strategy{Backoff: retry.Immediate}, 2418, 2013, 0, 0},
		{"exponential, no jitter", doubled(retry.NoJitter), 1858, 63514, 5166, 101600},
		{"equal", doubled(retry.Equal), 812, 6614, 1760, 9400},
		{"full", doubled(retry.Full), 795, 4930, 1772, 7400},
		// Its first wait is drawn from [base, 3·base] with the base as published.
		{"decorrelated", retry.Strategy{Jitter: retry.Decorrelated, Base: publishedBase / 2, Max: publishedMax}, 1000, 4540, 2431, 7900},
		{"random", doubled(retry.Random), 733, 6510, 0, 0},
	}
	runs := 60
	if full {
		runs = 400
	}
	for _, row := range table {
		t.Run(row.name, func(t *testing.T) {
			calls, done := contendMean(100, row.strategy, runs)
			t.Logf("100 clients: %.0f calls, %.0f ms", calls, done)
			within(t, "calls of 100 clients", calls, row.calls100, 0.05)
			within(t, "completion of 100 clients", done, row.done100, 0.10)
			if !full || row.calls190 == 0 {
				return
			}
			calls, done = contendMean(190, row.strategy, runs)
			t.Logf("190 clients: %.0f calls, %.0f ms", calls, done)
			within(t, "calls of 190 clients", calls, row.calls190, 0.05)
			within(t, "completion of 190 clients", done, row.done190, 0.10)
		})
	}
}

// What the choice of the default rests on.
func TestFullJitterBeatsNoJitter(t *testing.T) {
	calls, done := contendMean(100, retry.Strategy{Base: publishedBase, Max: publishedMax}, 60)
	_, doneWithout := contendMean(100, retry.Strategy{Jitter: retry.NoJitter, Base: publishedBase, Max: publishedMax}, 60)
	if calls >= 830 {
		t.Errorf("full jitter needed %.0f calls for 100 clients, want fewer than 830", calls)
	}
	if factor := doneWithout / done; factor < 11 || factor > 15 {
		t.Errorf("without jitter it took %.1f times as long as with full jitter, want about 13", factor)
	}
}

func within(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if math.Abs(got-want) > tolerance*want {
		t.Errorf("%s: got %.4g, want %.4g within %g %%", what, got, want, 100*tolerance)
	}
}
