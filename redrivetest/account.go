package redrivetest

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redrive-dev/redrive/broker"
)

// TB is what the assertions need of a *testing.T.
type TB interface {
	Helper()
	Errorf(format string, args ...any)
	Cleanup(f func())
}

// Account keeps the books of a test: what was published, what was handled. At
// the end [AssertBalanced] looks where the rest is: every message that the broker
// confirmed was handled, or is in some queue, byte for byte as it was published.
// It is safe for concurrent use.
type Account struct {
	id func(*broker.Message) string

	mu        sync.Mutex
	published map[string]*line
	handled   map[string]int
}

type line struct {
	print     [sha256.Size]byte
	confirmed bool
}

// NewAccount returns empty books. The function tells which message a copy is a
// copy of: something in body or headers that stays the same from the first
// publication on. Default, for nil: the body itself, which must then be
// different for every message.
func NewAccount(id func(*broker.Message) string) *Account {
	if id == nil {
		id = func(m *broker.Message) string { return string(m.Body) }
	}
	return &Account{id: id, published: map[string]*line{}, handled: map[string]int{}}
}

// Publish publishes and books. What fails for certain is not booked; what is
// unknown is booked as something that may exist.
func (a *Account) Publish(ctx context.Context, b broker.Broker, messages ...broker.Outbound) []error {
	for i := range messages {
		a.book(&messages[i], false)
	}
	errs := b.Publish(ctx, messages)
	for i, err := range errs {
		switch {
		case err == nil:
			a.book(&messages[i], true)
		case !errors.Is(err, broker.ErrUnknown):
			a.strike(&messages[i])
		}
	}
	return errs
}

func (a *Account) book(out *broker.Outbound, confirmed bool) {
	m := outboundMessage(out)
	a.mu.Lock()
	defer a.mu.Unlock()
	id := a.id(&m)
	if a.published[id] == nil {
		a.published[id] = &line{print: fingerprint(&m)}
	}
	if confirmed {
		a.published[id].confirmed = true
	}
}

func (a *Account) strike(out *broker.Outbound) {
	m := outboundMessage(out)
	a.mu.Lock()
	defer a.mu.Unlock()
	if id := a.id(&m); !a.published[id].confirmed {
		delete(a.published, id)
	}
}

func outboundMessage(out *broker.Outbound) broker.Message {
	return broker.Message{Key: out.Key, Body: out.Body, Headers: out.Headers}
}

// Handled books that the handler has done its work for the message. Call it
// where the effect happens.
func (a *Account) Handled(m *broker.Message) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.handled[a.id(m)]++
}

// Balance says where the messages of an account are.
type Balance struct {
	// Confirmed is the number of messages that the broker confirmed, and Unknown
	// of those of which it is not known.
	Confirmed, Unknown int
	// Handled is the number of messages handled at least once, and Repeats how
	// often one was handled again.
	Handled, Repeats int
	// In counts the copies per kind of queue.
	In map[broker.QueueKind]int
	// Lost are confirmed messages that are nowhere.
	Lost []string
	// Unexpected were never published.
	Unexpected []string
	// Altered are in a queue with another body, key or headers.
	Altered []string
	// Both were handled and are dead letters or in quarantine too. After a crash
	// between effect and settlement that is allowed.
	Both []string
}

// Err returns what breaks the promise: lost, unexpected and altered messages.
func (b Balance) Err() error {
	var errs []error
	for _, bad := range []struct {
		what string
		ids  []string
	}{{"lost", b.Lost}, {"never published", b.Unexpected}, {"altered", b.Altered}} {
		if n := len(bad.ids); n > 0 {
			errs = append(errs, fmt.Errorf("%d messages %s: %s", n, bad.what, sample(bad.ids)))
		}
	}
	return errors.Join(errs...)
}

func sample(ids []string) string {
	const most = 10
	if len(ids) > most {
		return fmt.Sprintf("%q and %d more", ids[:most], len(ids)-most)
	}
	return fmt.Sprintf("%q", ids)
}

// Balance looks into the queues, if none are named into all that the broker lists
// but those in which workers report,
// without an effect on them. Broker.Letters must be in mode Observe. Call it
// when nothing moves: a message on its way between two looks may be missed.
func (a *Account) Balance(ctx context.Context, b broker.Broker, queues ...string) (Balance, error) {
	if len(queues) == 0 {
		listed, err := b.Topology().Queues(ctx)
		if err != nil {
			return Balance{}, fmt.Errorf("balance: %w", err)
		}
		for _, q := range listed {
			if !aboutMessages(q.Kind) {
				continue
			}
			queues = append(queues, q.Name)
		}
	}
	bal := Balance{In: map[broker.QueueKind]int{}}
	found := map[string]bool{}
	dead := map[string]bool{}
	for _, q := range queues {
		kind := broker.KindOf(q)
		err := scanAll(ctx, b, q, func(m *broker.Message) {
			id := a.id(m)
			found[id] = true
			bal.In[kind]++
			if kind == broker.KindDeadLetter || kind == broker.KindQuarantine {
				dead[id] = true
			}
			a.compare(&bal, id, m)
		})
		if err != nil {
			return Balance{}, fmt.Errorf("balance: %w", err)
		}
	}
	a.close(&bal, found, dead)
	return bal, nil
}

func (a *Account) compare(bal *Balance, id string, m *broker.Message) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch l := a.published[id]; {
	case l == nil:
		bal.Unexpected = append(bal.Unexpected, id)
	case l.print != fingerprint(m):
		bal.Altered = append(bal.Altered, id)
	}
}

func (a *Account) close(bal *Balance, found, dead map[string]bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for id, l := range a.published {
		if !l.confirmed {
			bal.Unknown++
			continue
		}
		bal.Confirmed++
		if a.handled[id] == 0 && !found[id] {
			bal.Lost = append(bal.Lost, id)
		}
	}
	for id, n := range a.handled {
		bal.Handled++
		bal.Repeats += n - 1
		if a.published[id] == nil {
			bal.Unexpected = append(bal.Unexpected, id)
		}
		if dead[id] {
			bal.Both = append(bal.Both, id)
		}
	}
	for _, ids := range []*[]string{&bal.Lost, &bal.Unexpected, &bal.Altered, &bal.Both} {
		slices.Sort(*ids)
		*ids = slices.Compact(*ids)
	}
}

// aboutMessages tells the queues in which messages can be from those in which
// workers report.
func aboutMessages(kind broker.QueueKind) bool {
	return kind != broker.KindOutcomes && kind != broker.KindHeartbeats
}

func scanAll(ctx context.Context, b broker.Broker, queue string, see func(*broker.Message)) error {
	letters, err := b.Letters(ctx, queue)
	if err != nil {
		return err
	}
	if letters.Mode() != broker.Observe {
		return fmt.Errorf("queue %s can only be read in mode %v: name queues that can be observed", queue, letters.Mode())
	}
	const page = 500
	for cursor := broker.Cursor(""); ; {
		got, next, err := letters.Scan(ctx, cursor, page)
		if err != nil {
			return err
		}
		for i := range got {
			see(&got[i].Message)
		}
		if len(got) < page {
			return nil
		}
		cursor = next
	}
}

// fingerprint covers what is sacred: body, key and the producer's headers, in
// order within each name. Some brokers do not keep the order among names.
func fingerprint(m *broker.Message) [sha256.Size]byte {
	headers := slices.Clone(m.Headers)
	slices.SortStableFunc(headers, func(a, b broker.Header) int { return strings.Compare(a.Name, b.Name) })
	var buf []byte
	add := func(p []byte) {
		buf = binary.BigEndian.AppendUint64(buf, uint64(len(p)))
		buf = append(buf, p...)
	}
	add(m.Body)
	add(m.Key)
	for _, h := range headers {
		switch h.Name {
		case broker.HeaderEnvelope, broker.HeaderExpiresAt, broker.HeaderDue:
		default:
			add([]byte(h.Name))
			add(h.Value)
		}
	}
	return sha256.Sum256(buf)
}

// AssertBalanced fails the test unless every confirmed message of the account
// was handled or is in one of the queues (all that the broker lists, if none
// are named), unaltered, and no other message is.
func AssertBalanced(ctx context.Context, t TB, a *Account, b broker.Broker, queues ...string) {
	t.Helper()
	bal, err := a.Balance(ctx, b, queues...)
	if err == nil {
		err = bal.Err()
	}
	if err != nil {
		t.Errorf("account does not balance: %v", err)
	}
}

// Drained waits until the queues are empty, with nothing in flight or delayed.
// With no queues named it waits for all but dead-letter queues, quarantines and
// the queues in which workers report.
// When the context ends first it says which queue still holds what.
func Drained(ctx context.Context, b broker.Broker, queues ...string) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for seen := "nothing was read"; ; {
		left, err := undrained(ctx, b, queues)
		switch {
		case err == nil && left == "":
			return nil
		case err == nil:
			seen = left
		case ctx.Err() == nil:
			return fmt.Errorf("wait for empty queues: %w", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for empty queues: %w; %s", ctx.Err(), seen)
		}
	}
}

func undrained(ctx context.Context, b broker.Broker, queues []string) (string, error) {
	if len(queues) == 0 {
		listed, err := b.Topology().Queues(ctx)
		if err != nil {
			return "", err
		}
		for _, q := range listed {
			if aboutMessages(q.Kind) && q.Kind != broker.KindDeadLetter && q.Kind != broker.KindQuarantine {
				queues = append(queues, q.Name)
			}
		}
	}
	var left []string
	for _, q := range queues {
		st, err := b.Stats(ctx, q)
		if err != nil {
			return "", err
		}
		if st.Depth() > 0 {
			left = append(left, fmt.Sprintf("%s has %d ready, %d in flight, %d delayed", q, st.Ready, st.InFlight, st.Delayed))
		}
	}
	return strings.Join(left, "; "), nil
}
