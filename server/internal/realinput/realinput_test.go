package realinput_test

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/envelope"
	"github.com/redrive-dev/redrive/failure"
	"github.com/redrive-dev/redrive/redrivenats"
	"github.com/redrive-dev/redrive/server/internal/embednats"
	"github.com/redrive-dev/redrive/server/internal/schema"
)

const (
	// window is how many payloads may be on their way at once.
	window = 128
	// company is how many payloads that the endpoint accepts are published again at
	// a time while the last messages are on their way, and rounds how often at most:
	// a message out of attempts waits until others have succeeded.
	company = 4
	rounds  = 100
	// patience is how long nothing may end before the test takes the rest for lost.
	patience = 30 * time.Second
)

// TestEveryPayloadEndsWhereItsRuleSays is the promise on real input: nothing is
// lost, changed or in two places, whatever the endpoint does, and however often
// the worker dies.
func TestEveryPayloadEndsWhereItsRuleSays(t *testing.T) {
	t.Parallel()
	begin := time.Now()
	examples, published := fixtures(t)
	ctx := t.Context()
	file := filepath.Join(t.TempDir(), "schema.json")
	require.NoError(t, os.WriteFile(file, usable(t, published), 0o600))
	validator, err := schema.Load(file)
	require.NoError(t, err)
	all := payloads(t, examples, validator)
	r := &run{payloads: all, byDelivery: map[string]*payload{}, published: map[*payload]bool{}}
	for _, p := range all {
		require.NotContains(t, r.byDelivery, p.delivery)
		r.byDelivery[p.delivery] = p
	}
	t.Logf("%d payloads prepared after %s", len(all), time.Since(begin).Round(time.Millisecond))

	r.start(ctx, t, file)
	r.publish(ctx, t)
	r.accompany(ctx, t)
	r.settle(ctx, t)
	stop, cancelStop := context.WithTimeout(ctx, 20*time.Second)
	defer cancelStop()
	require.NoError(t, r.workers.stop(stop), "the last worker must end in order")
	r.account(ctx, t)
	t.Logf("took %s", time.Since(begin).Round(time.Millisecond))
}

// kills is how often the worker dies by plan. The payload that kills it comes on
// top.
func kills() int {
	if os.Getenv("REDRIVE_FULL") == "1" {
		return 60
	}
	return 20
}

// run is the system under test and what the test knows of it.
type run struct {
	payloads   []*payload
	byDelivery map[string]*payload
	endpoint   *endpoint
	workers    *supervisor
	broker     *redrivenats.Broker
	names      broker.Names
	published  map[*payload]bool
}

// start starts the endpoint, the broker process and the first worker.
func (r *run) start(ctx context.Context, t *testing.T, schemaFile string) {
	t.Helper()
	r.names = broker.NamesFor(source, group)
	r.workers = &supervisor{failed: make(chan struct{})}
	r.endpoint = &endpoint{
		payloads: r.byDelivery, kill: r.workers.kill, visits: map[string]*visit{}, rng: rand.New(rand.NewPCG(1, 2)),
	}
	server := httptest.NewServer(r.endpoint)
	t.Cleanup(server.Close)

	data := filepath.Join(t.TempDir(), "data")
	nats, err := spawn(role{Name: "broker", Data: data})
	require.NoError(t, err)
	said := nats.out.Scan() && nats.out.Text() == "ready"
	nats.watch()
	t.Cleanup(func() {
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
		defer cancel()
		require.NoError(t, nats.stop(stop), "the broker must end in order")
	})
	require.True(t, said, "the broker does not start")
	found, err := embednats.Discover(data)
	require.NoError(t, err)
	r.broker, err = redrivenats.Connect(ctx, redrivenats.Config{URL: found.URL, Token: found.Token})
	require.NoError(t, err)
	t.Cleanup(func() {
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		require.NoError(t, r.broker.Close(stop))
	})
	require.NoError(t, r.broker.Topology().Ensure(ctx, broker.Spec{Source: source, Group: group}))

	r.workers.role = role{Name: "worker", Data: data, Endpoint: server.URL, Schema: schemaFile}
	r.workers.mu.Lock()
	err = r.workers.start()
	r.workers.mu.Unlock()
	require.NoError(t, err)
	t.Cleanup(func() {
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		_ = r.workers.stop(stop) // A test that failed before may leave it running.
	})
}

// publish publishes the payloads in a mixed order, no more at once than the
// window.
func (r *run) publish(ctx context.Context, t *testing.T) {
	t.Helper()
	order := slices.Clone(r.payloads)
	shuffle := rand.New(rand.NewPCG(3, 4))
	shuffle.Shuffle(len(order), func(i, k int) { order[i], order[k] = order[k], order[i] })
	r.plan(order)
	for len(order) > 0 {
		r.wait(ctx, t, func() bool { return r.outstanding(ctx, t) < window })
		n := min(len(order), window/2)
		r.send(ctx, t, order[:n])
		order = order[n:]
	}
}

// accompany goes on with healthy traffic, as a queue in use has it, until the
// kills are done and nothing is on its way any more.
func (r *run) accompany(ctx context.Context, t *testing.T) {
	t.Helper()
	var healthy []*payload
	for _, p := range r.payloads {
		if p.rule == accept {
			healthy = append(healthy, p)
		}
	}
	done := func() bool {
		_, left := r.endpoint.progress()
		return left == 0 && r.depth(ctx, t, r.names.Quarantine(failure.Crash)) > 0 && r.idle(ctx, t)
	}
	for round := 0; round < rounds && !done(); round++ {
		var batch []*payload
		for i := range company {
			again := healthy[(round*company+i)%len(healthy)]
			batch = append(batch, newPayload(example{"again", again.event, again.body}, len(r.payloads)+i))
		}
		r.add(batch)
		r.send(ctx, t, batch)
		next := time.Now().Add(300 * time.Millisecond)
		r.wait(ctx, t, func() bool { return time.Now().After(next) || done() })
	}
}

// add makes further payloads known to the endpoint.
func (r *run) add(batch []*payload) {
	r.endpoint.mu.Lock()
	defer r.endpoint.mu.Unlock()
	for _, p := range batch {
		r.byDelivery[p.delivery] = p
	}
	r.payloads = append(r.payloads, batch...)
}

// plan spreads the kills over the requests that the payloads cause at least, and
// puts the outage in the middle.
func (r *run) plan(order []*payload) {
	least := 0
	for _, p := range order {
		if p.rule != refused {
			least++
		}
	}
	r.endpoint.mu.Lock()
	defer r.endpoint.mu.Unlock()
	step := least / (kills() + 1)
	for k := range kills() {
		r.endpoint.plan = append(r.endpoint.plan, (k+1)*step-r.endpoint.rng.IntN(step))
	}
	r.endpoint.failAt = least / 2
}

// send publishes payloads and waits until the broker has them.
func (r *run) send(ctx context.Context, t *testing.T, batch []*payload) {
	t.Helper()
	out := make([]broker.Outbound, len(batch))
	for i, p := range batch {
		out[i] = broker.Outbound{Queue: source, ID: "pub:" + p.delivery, Body: p.body, Headers: p.headers}
	}
	require.NoError(t, errors.Join(r.broker.Publish(ctx, out)...))
	for _, p := range batch {
		r.published[p] = true
	}
}

// settle waits until everything that was published has ended somewhere.
func (r *run) settle(ctx context.Context, t *testing.T) {
	t.Helper()
	r.wait(ctx, t, func() bool { return r.outstanding(ctx, t) <= 0 && r.idle(ctx, t) })
}

// idle reports that nothing waits or is on its way. A message moves from the
// source to the retry queue and never back, so they are read in this order.
func (r *run) idle(ctx context.Context, t *testing.T) bool {
	t.Helper()
	return r.depth(ctx, t, source) == 0 && r.depth(ctx, t, r.names.Retry) == 0
}

// outstanding is how many published payloads have not ended yet.
func (r *run) outstanding(ctx context.Context, t *testing.T) int {
	t.Helper()
	accepted, _ := r.endpoint.progress()
	n := len(r.published) - accepted
	for _, queue := range r.ends() {
		n -= r.depth(ctx, t, queue)
	}
	return n
}

// ends lists the queues in which a message can end.
func (r *run) ends() []string {
	queues := []string{r.names.DeadLetter}
	for _, c := range failure.Categories() {
		queues = append(queues, r.names.Quarantine(c))
	}
	return queues
}

func (r *run) depth(ctx context.Context, t *testing.T, queue string) int {
	t.Helper()
	stats, err := r.broker.Stats(ctx, queue)
	require.NoError(t, err)
	return int(stats.Depth())
}

// wait returns when the condition holds. It fails the test, with the account so
// far, when a request was wrong, a worker failed, or nothing ends any more.
func (r *run) wait(ctx context.Context, t *testing.T, condition func() bool) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	open, since := -1, time.Now()
	for !condition() {
		select {
		case <-tick.C:
		case <-r.workers.failed:
			t.Fatal(r.workers.err)
		case <-ctx.Done():
			t.Fatal(context.Cause(ctx))
		}
		n := r.outstanding(ctx, t)
		if n != open {
			open, since = n, time.Now()
		}
		if stuck := time.Since(since) > patience; stuck || len(r.endpoint.trouble()) > 0 {
			t.Errorf("%d of %d published payloads have not ended, stuck: %t", n, len(r.published), stuck)
			r.account(ctx, t)
			t.FailNow()
		}
	}
}

// account compares where everything is with where it belongs.
func (r *run) account(ctx context.Context, t *testing.T) {
	t.Helper()
	r.endpoint.mu.Lock()
	defer r.endpoint.mu.Unlock()
	problems := append(r.endpoint.problems, r.keys()...)
	found := map[string][]ending{} // by delivery id
	for id, v := range r.endpoint.visits {
		if v.accepted > 0 {
			found[id] = append(found[id], ending{place: handled})
		}
	}
	for _, queue := range r.ends() {
		for _, letter := range r.letters(ctx, t, queue) {
			p, e, faults := r.read(letter)
			for _, fault := range faults {
				problems = append(problems, fmt.Sprintf("letter %s of %s: %s", letter.Position, queue, fault))
			}
			if p != nil {
				found[p.delivery] = append(found[p.delivery], ending{queue + " as " + e.Category.String(), e})
			}
		}
	}
	for _, p := range r.payloads {
		if fault := misplaced(p.rule, found[p.delivery]); fault != "" && r.published[p] {
			problems = append(problems, fmt.Sprintf("%s: %s", p, fault))
		}
	}
	for _, queue := range []string{source, r.names.Retry} {
		for _, left := range r.letters(ctx, t, queue) {
			p, e, _ := r.read(left)
			problems = append(problems, fmt.Sprintf("%s still holds %s: %+v", queue, p, e))
		}
		if n := r.depth(ctx, t, queue); n != 0 {
			problems = append(problems, fmt.Sprintf("%d messages are left in %s", n, queue))
		}
	}
	r.report(t, found)
	if len(problems) > 0 {
		t.Fatalf("%d problems, the first ones:\n%s", len(problems), strings.Join(problems[:min(20, len(problems))], "\n"))
	}
	require.Empty(t, r.endpoint.plan, "not all kills of the plan took place")
	require.NotZero(t, r.endpoint.failed, "the outage did not take place")
	require.Len(t, r.published, len(r.payloads))
	require.GreaterOrEqual(t, r.workers.kills, kills())
}

// ending is where a payload, or a copy of it, ended. The envelope is that of a
// letter.
type ending struct {
	place    string
	envelope envelope.Envelope
}

// misplaced says what is wrong with the endings of one payload, if anything.
func misplaced(r rule, found []ending) string {
	if len(found) == 0 {
		return "did not end anywhere"
	}
	for i, end := range found {
		if !slices.Contains(r.places(), end.place) {
			return fmt.Sprintf("is in %q and belongs into %q", end.place, r.places())
		}
		for _, other := range found[:i] {
			if !forked(other, end) {
				return fmt.Sprintf("is in %q and again in %q, and no killed worker explains that:\n%+v\n%+v", other.place, end.place, other.envelope, end.envelope)
			}
		}
	}
	return ""
}

// forked reports whether two letters are those of a message that was repeated
// because its worker died between the two halves of a move: the copy for a retry
// was stored, and the original was not settled. Then they have one history up to
// the attempt of the worker that died, and go on with those of others. A publish
// id is stored once in a queue, so two letters in one queue have two ids.
func forked(a, b ending) bool {
	if a.place == b.place && sameMove(a, b) {
		return false
	}
	x, y := a.envelope.Attempts, b.envelope.Attempts
	for i := range min(len(x), len(y)) {
		if !gocmp.Equal(x[i], y[i]) {
			return x[i].Worker != y[i].Worker
		}
	}
	return false
}

// sameMove reports whether two letters claim to be one.
func sameMove(a, b ending) bool {
	return a.envelope.PublishID == b.envelope.PublishID || a.envelope.Incarnation == b.envelope.Incarnation
}

// letters reads a whole queue.
func (r *run) letters(ctx context.Context, t *testing.T, queue string) []broker.Letter {
	t.Helper()
	letters, err := r.broker.Letters(ctx, queue)
	require.NoError(t, err)
	const page = 100
	var all []broker.Letter
	for from := broker.Cursor(""); ; {
		got, next, err := letters.Scan(ctx, from, page)
		require.NoError(t, err)
		all = append(all, got...)
		if len(got) < page {
			return all
		}
		from = next
	}
}

// read compares a letter with what was published. The payload is nil if it is
// none of ours.
func (r *run) read(letter broker.Letter) (p *payload, e envelope.Envelope, faults []string) {
	id, _ := letter.Message.Header(headerDelivery)
	if p = r.byDelivery[string(id)]; p == nil {
		return nil, e, []string{fmt.Sprintf("the delivery id %q is unknown", id)}
	}
	if sha256.Sum256(letter.Message.Body) != p.sum {
		faults = append(faults, fmt.Sprintf("%s has another body: %d bytes instead of %d", p.delivery, len(letter.Message.Body), len(p.body)))
	}
	if diff := gocmp.Diff(p.headers, letter.Message.Headers); diff != "" {
		faults = append(faults, p.delivery+" has other headers (-want +got):\n"+diff)
	}
	e, err := envelope.Decode(letter.Message.Envelope)
	if err != nil {
		return p, e, append(faults, p.delivery+" has no envelope: "+err.Error())
	}
	if !e.Belongs(source, group, envelope.Digest(p.body)) {
		faults = append(faults, p.delivery+" has the envelope of another message")
	}
	if v := r.endpoint.visits[p.delivery]; v != nil && v.key != e.Key {
		faults = append(faults, fmt.Sprintf("%s has the idempotency key %q, and came to the endpoint with %q", p.delivery, e.Key, v.key))
	}
	return p, e, faults
}

// keys checks that no two payloads share an idempotency key.
func (r *run) keys() (problems []string) {
	owner := map[string]string{}
	for id, v := range r.endpoint.visits {
		if other, taken := owner[v.key]; taken {
			problems = append(problems, fmt.Sprintf("%s and %s came with the same idempotency key %q", id, other, v.key))
		}
		owner[v.key] = id
	}
	return problems
}

// report prints the account, and fails the test if a rule was never tried.
func (r *run) report(t *testing.T, found map[string][]ending) {
	t.Helper()
	events, origins, rules, places := map[string]int{}, map[string]int{}, map[rule]int{}, map[string]int{}
	size, copies, split := 0, 0, 0
	for _, p := range r.payloads {
		events[p.event]++
		origins[p.origin]++
		rules[p.rule]++
		size += len(p.body)
		for i, end := range found[p.delivery] {
			if i == 0 {
				places[end.place]++
				continue
			}
			copies++
			if sameMove(found[p.delivery][0], end) {
				split++
			}
		}
	}
	requests, duplicates, unexplained := 0, 0, 0
	for _, v := range r.endpoint.visits {
		requests += v.requests
		duplicates += max(0, v.accepted-1)
		if v.rejected == 0 {
			unexplained += len(v.lives) - len(slices.Compact(slices.Sorted(slices.Values(v.lives))))
		}
	}
	t.Logf("published: %d payloads, %d bytes, by origin: %s", len(r.published), size, counts(origins))
	t.Logf("by event: %s", counts(events))
	t.Logf("by rule: %s", counts(rules))
	t.Logf("ended: %s; second letters of repeated messages: %d, of these with the publish id of the first: %d", counts(places), copies, split)
	t.Logf("kills: %d by plan, %d by the payload that kills; answers of the outage: %d", r.endpoint.kills, r.workers.kills-r.endpoint.kills, r.endpoint.failed)
	// A worker that did not die repeats a message only after it lost the lease, as
	// on a machine that stands still, or if the message was repeated before.
	t.Logf("requests: %d, duplicates at the endpoint: %d, of these without a kill or a retry: %d", requests, duplicates, unexplained)
	for _, tried := range []rule{accept, overload, conflict, throttle, reset, broke, malformed, forbidden, gone, foreign, setAside, deadly, refused} {
		require.NotZero(t, rules[tried], "no payload has the rule %q: the test proves nothing about it", tried)
	}
}

// counts prints a map of counts, the largest first.
func counts[K ~string](m map[K]int) string {
	keys := slices.SortedFunc(maps.Keys(m), func(a, b K) int { return cmp.Or(m[b]-m[a], strings.Compare(string(a), string(b))) })
	out := make([]string, len(keys))
	for i, k := range keys {
		out[i] = fmt.Sprintf("%s %d", k, m[k])
	}
	return strings.Join(out, ", ")
}
