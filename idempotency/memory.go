package idempotency

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Defaults of Memory.
const (
	// DefaultMaxEntries is how many keys a Memory keeps.
	DefaultMaxEntries = 1_000_000
	// DefaultTTL is how long a Memory keeps the key of a handled message.
	DefaultTTL = 24 * time.Hour
)

// Memory is a Store and an Extender in the memory of one process: it protects
// against duplicates for as long as the process lives. It is bounded: when it
// is full it forgets the handled key that is oldest. Claims are never
// forgotten before their lease ends; if there is nothing but those, Claim
// returns ErrFull.
type Memory struct {
	now func() time.Time
	max int
	ttl time.Duration

	mu        sync.Mutex
	entries   map[entryKey]*entry
	done      []*entry // in the order of completion and so of expiry
	token     int64
	sweepAt   time.Time // no claim ends before
	forgotten uint64
}

type entryKey struct{ group, key string }

type entry struct {
	id          entryKey
	fingerprint string
	token       int64
	until       time.Time // end of the lease, or of the time that a done key is kept
	done        bool
}

// MemoryOption configures NewMemory.
type MemoryOption func(*Memory)

// WithClock sets the clock. Default: time.Now.
func WithClock(now func() time.Time) MemoryOption {
	return func(m *Memory) { m.now = now }
}

// WithMaxEntries sets how many keys are kept, claimed and handled ones together.
// Default, and for numbers below 1: DefaultMaxEntries.
func WithMaxEntries(n int) MemoryOption {
	return func(m *Memory) {
		if n > 0 {
			m.max = n
		}
	}
}

// WithTTL sets how long the key of a handled message is kept. Default, and for
// durations that are not positive: DefaultTTL.
func WithTTL(ttl time.Duration) MemoryOption {
	return func(m *Memory) {
		if ttl > 0 {
			m.ttl = ttl
		}
	}
}

// NewMemory returns an empty store.
func NewMemory(options ...MemoryOption) *Memory {
	m := &Memory{
		now: time.Now, max: DefaultMaxEntries, ttl: DefaultTTL,
		entries: map[entryKey]*entry{},
	}
	for _, option := range options {
		option(m)
	}
	return m
}

var (
	_ Store    = (*Memory)(nil)
	_ Extender = (*Memory)(nil)
)

// Claim implements Store.
func (m *Memory) Claim(ctx context.Context, key, group, fingerprint string, lease time.Duration) (Result, error) {
	if err := CheckClaim(key, group, lease); err != nil {
		return Result{}, err
	}
	if err := ctx.Err(); err != nil {
		return Result{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	m.expire(now)
	id := entryKey{group: group, key: key}
	e := m.entries[id]
	switch {
	case e == nil:
		if err := m.makeRoom(now); err != nil {
			return Result{}, err
		}
		e = &entry{id: id}
		m.entries[id] = e
	case e.done && e.fingerprint == fingerprint:
		return Result{State: Done}, nil
	case e.done:
		return Result{State: Conflict}, nil
	case now.Before(e.until):
		return Result{State: Busy, BusyUntil: e.until}, nil
	}
	m.token++
	e.fingerprint, e.token = fingerprint, m.token
	m.lease(e, now.Add(lease))
	return Result{State: Claimed, Claim: Claim{
		Key: key, Group: group, Fingerprint: fingerprint, Token: e.token, Until: e.until,
	}}, nil
}

// lease sets the end of a claim and keeps sweepAt a lower bound.
func (m *Memory) lease(e *entry, until time.Time) {
	e.until = until
	if until.Before(m.sweepAt) {
		m.sweepAt = until
	}
}

// expire forgets the handled keys whose time is over.
func (m *Memory) expire(now time.Time) {
	for len(m.done) > 0 && !now.Before(m.done[0].until) {
		m.dropOldestDone()
	}
}

func (m *Memory) dropOldestDone() {
	delete(m.entries, m.done[0].id)
	m.done[0] = nil // the array behind the slice outlives it
	m.done = m.done[1:]
}

// makeRoom forgets a key if the store is full: the oldest handled one, else the
// claims whose lease has ended.
func (m *Memory) makeRoom(now time.Time) error {
	if len(m.entries) < m.max {
		return nil
	}
	if len(m.done) > 0 {
		m.dropOldestDone()
		m.forgotten++
		return nil
	}
	if !now.Before(m.sweepAt) {
		m.sweep(now)
	}
	if len(m.entries) < m.max {
		return nil
	}
	return fmt.Errorf("%w: %d claims are open; raise the limit of entries or lower the concurrency", ErrFull, m.max)
}

// sweep forgets the claims whose lease has ended and notes when the next one
// does, so that a full store is not searched on each call.
func (m *Memory) sweep(now time.Time) {
	m.sweepAt = now.Add(m.ttl)
	for id, e := range m.entries {
		if !now.Before(e.until) {
			delete(m.entries, id)
		} else if e.until.Before(m.sweepAt) {
			m.sweepAt = e.until
		}
	}
}

// Complete implements Store.
func (m *Memory) Complete(_ context.Context, c Claim) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	m.expire(now)
	e := m.current(c)
	if e == nil {
		return fenced(c)
	}
	if !e.done {
		e.done, e.until = true, now.Add(m.ttl)
		m.done = append(m.done, e)
	}
	return nil
}

// Release implements Store.
func (m *Memory) Release(_ context.Context, c Claim) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e := m.current(c); e != nil && !e.done {
		delete(m.entries, e.id)
	}
	return nil
}

// Extend implements Extender.
func (m *Memory) Extend(_ context.Context, c Claim, lease time.Duration) error {
	if err := CheckClaim(c.Key, c.Group, lease); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.current(c)
	if e == nil || e.done {
		return fenced(c)
	}
	m.lease(e, m.now().Add(lease))
	return nil
}

// current returns the entry that the claim holds, nil if it holds none.
func (m *Memory) current(c Claim) *entry {
	if e := m.entries[entryKey{group: c.Group, key: c.Key}]; e != nil && e.token == c.Token {
		return e
	}
	return nil
}

func fenced(c Claim) error {
	return fmt.Errorf("key %q of group %q: %w", c.Key, c.Group, ErrFenced)
}

// Len returns the number of keys in the store, claimed and handled ones.
func (m *Memory) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.expire(m.now())
	return len(m.entries)
}

// Forgotten returns how many handled keys were forgotten before their time
// because the store was full. Their duplicates would not be recognised.
func (m *Memory) Forgotten() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.forgotten
}
