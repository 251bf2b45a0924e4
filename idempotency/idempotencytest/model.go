package idempotencytest

import (
	"context"
	"time"

	"github.com/redrive-dev/redrive/idempotency"
)

// Model is the contract of a Store in its plainest form, to compare
// implementations with. It is unbounded and not safe for concurrent use.
type Model struct {
	now   func() time.Time
	ttl   time.Duration
	token int64
	rows  map[[2]string]row
}

type row struct {
	fingerprint string
	token       int64
	until       time.Time
	done        bool
}

// NewModel returns an empty model that keeps handled keys for ttl.
func NewModel(now func() time.Time, ttl time.Duration) *Model {
	return &Model{now: now, ttl: ttl, rows: map[[2]string]row{}}
}

// Claim implements idempotency.Store.
func (m *Model) Claim(_ context.Context, key, group, fingerprint string, lease time.Duration) (idempotency.Result, error) {
	if err := idempotency.CheckClaim(key, group, lease); err != nil {
		return idempotency.Result{}, err
	}
	now, id := m.now(), [2]string{key, group}
	r, ok := m.rows[id]
	if ok && now.Before(r.until) {
		switch {
		case !r.done:
			return idempotency.Result{State: idempotency.Busy, BusyUntil: r.until}, nil
		case r.fingerprint != fingerprint:
			return idempotency.Result{State: idempotency.Conflict}, nil
		}
		return idempotency.Result{State: idempotency.Done}, nil
	}
	m.token++
	m.rows[id] = row{fingerprint: fingerprint, token: m.token, until: now.Add(lease)}
	return idempotency.Result{State: idempotency.Claimed, Claim: idempotency.Claim{
		Key: key, Group: group, Fingerprint: fingerprint, Token: m.token, Until: now.Add(lease),
	}}, nil
}

// Complete implements idempotency.Store.
func (m *Model) Complete(_ context.Context, c idempotency.Claim) error {
	r, ok := m.current(c)
	if !ok {
		return idempotency.ErrFenced
	}
	if !r.done {
		m.rows[[2]string{c.Key, c.Group}] = row{fingerprint: r.fingerprint, token: r.token, until: m.now().Add(m.ttl), done: true}
	}
	return nil
}

// Release implements idempotency.Store.
func (m *Model) Release(_ context.Context, c idempotency.Claim) error {
	if r, ok := m.current(c); ok && !r.done {
		delete(m.rows, [2]string{c.Key, c.Group})
	}
	return nil
}

// Extend implements idempotency.Extender.
func (m *Model) Extend(_ context.Context, c idempotency.Claim, lease time.Duration) error {
	r, ok := m.current(c)
	if !ok || r.done {
		return idempotency.ErrFenced
	}
	r.until = m.now().Add(lease)
	m.rows[[2]string{c.Key, c.Group}] = r
	return nil
}

// current returns the row that a claim holds. A handled key whose time is over
// is gone.
func (m *Model) current(c idempotency.Claim) (row, bool) {
	r, ok := m.rows[[2]string{c.Key, c.Group}]
	if !ok || r.token != c.Token || r.done && !m.now().Before(r.until) {
		return row{}, false
	}
	return r, true
}
