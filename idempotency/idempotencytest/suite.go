package idempotencytest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/redrive-dev/redrive/idempotency"
)

// TTL is how long a store under test must keep the keys of handled messages.
const TTL = time.Hour

// Open returns an empty store that takes the time from now and keeps handled
// keys for TTL. What it needs to end it registers with t.Cleanup.
type Open func(t *testing.T, now func() time.Time) idempotency.Store

// Run checks that a store keeps the contract of [idempotency.Store], and of
// [idempotency.Extender] if it implements it.
func Run(t *testing.T, open Open) {
	t.Helper()
	for _, c := range []struct {
		name string
		run  func(*bench)
	}{
		{"arguments", arguments},
		{"life of a claim", lifeOfAClaim},
		{"groups and keys are apart", apart},
		{"busy until the lease ends", busy},
		{"takeover fences the older claim", takeover},
		{"an expired claim completes if nobody took it", lateComplete},
		{"release forgets the fingerprint", release},
		{"release of what is not ours has no effect", foreignRelease},
		{"a released claim stays fenced", releasedStaysFenced},
		{"conflict", conflict},
		{"handled keys are forgotten after their time", ttl},
		{"extend", extend},
		{"cancelled context", cancelled},
		{"awkward keys", awkward},
		{"one winner", oneWinner},
		{"one winner of a takeover", oneTakeover},
		{"random operations against the model", random},
	} {
		t.Run(c.name, func(t *testing.T) {
			clock := NewClock()
			c.run(&bench{T: t, clock: clock, store: open(t, clock.Now)})
		})
	}
}

const lease = time.Minute

// bench is a store under test with its clock.
type bench struct {
	*testing.T
	clock *Clock
	store idempotency.Store
}

func (b *bench) claim(key, group, fingerprint string) idempotency.Result {
	b.Helper()
	r, err := b.store.Claim(b.Context(), key, group, fingerprint, lease)
	if err != nil {
		b.Fatalf("claim %q for %q: %v", key, group, err)
	}
	return r
}

// mustClaim claims the key k for the group g.
func (b *bench) mustClaim(fingerprint string) idempotency.Claim {
	b.Helper()
	r := b.claim("k", "g", fingerprint)
	if r.State != idempotency.Claimed {
		b.Fatalf("state is %v, want claimed", r.State)
	}
	return r.Claim
}

// want claims the key k for the group g and expects an answer that is no claim.
func (b *bench) want(fingerprint string, state idempotency.State) idempotency.Result {
	b.Helper()
	r := b.claim("k", "g", fingerprint)
	if r.State != state {
		b.Fatalf("state is %v, want %v", r.State, state)
	}
	if r.Claim != (idempotency.Claim{}) {
		b.Errorf("a claim came with %v: %+v", state, r.Claim)
	}
	return r
}

func (b *bench) complete(c idempotency.Claim, want error) {
	b.Helper()
	if err := b.store.Complete(b.Context(), c); !errors.Is(err, want) {
		b.Fatalf("complete: %v, want %v", err, want)
	}
}

func (b *bench) release(c idempotency.Claim) {
	b.Helper()
	if err := b.store.Release(b.Context(), c); err != nil {
		b.Fatalf("release: %v", err)
	}
}

func arguments(b *bench) {
	for name, try := range map[string]func() (idempotency.Result, error){
		"empty key":     func() (idempotency.Result, error) { return b.store.Claim(b.Context(), "", "g", "f", lease) },
		"no lease":      func() (idempotency.Result, error) { return b.store.Claim(b.Context(), "k", "g", "f", 0) },
		"endless key":   func() (idempotency.Result, error) { return b.store.Claim(b.Context(), long(257), "g", "f", lease) },
		"endless group": func() (idempotency.Result, error) { return b.store.Claim(b.Context(), "k", long(1025), "f", lease) },
	} {
		if r, err := try(); err == nil {
			b.Errorf("%s: accepted with %v", name, r.State)
		}
	}
	r, err := b.store.Claim(b.Context(), long(idempotency.MaxKey), long(idempotency.MaxGroup), "f", lease)
	if err != nil || r.State != idempotency.Claimed {
		b.Errorf("the longest key and group: %v, %v", r.State, err)
	}
}

func long(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = 'x'
	}
	return string(b)
}

func lifeOfAClaim(b *bench) {
	c := b.mustClaim("f")
	if c.Key != "k" || c.Group != "g" || c.Fingerprint != "f" {
		b.Errorf("claim is %+v", c)
	}
	if want := b.clock.Now().Add(lease); !c.Until.Equal(want) {
		b.Errorf("lease ends at %v, want %v", c.Until, want)
	}
	b.complete(c, nil)
	b.complete(c, nil)
	b.want("f", idempotency.Done)
}

func apart(b *bench) {
	b.complete(b.mustClaim("f"), nil)
	for _, other := range [][2]string{{"k", "h"}, {"kg", ""}, {"K", "g"}, {"k ", "g"}} {
		if r := b.claim(other[0], other[1], "f"); r.State != idempotency.Claimed {
			b.Errorf("key %q, group %q: %v, want claimed", other[0], other[1], r.State)
		}
	}
}

func busy(b *bench) {
	c := b.mustClaim("f")
	for _, fingerprint := range []string{"f", "other"} {
		if r := b.want(fingerprint, idempotency.Busy); !r.BusyUntil.Equal(c.Until) {
			b.Errorf("busy until %v, want %v", r.BusyUntil, c.Until)
		}
	}
	b.clock.Advance(lease - time.Millisecond)
	b.want("f", idempotency.Busy)
	b.clock.Advance(time.Millisecond)
	b.mustClaim("f")
}

func takeover(b *bench) {
	first := b.mustClaim("f")
	b.clock.Advance(lease)
	second := b.mustClaim("other")
	if second.Token <= first.Token {
		b.Errorf("token %d after %d", second.Token, first.Token)
	}
	b.complete(first, idempotency.ErrFenced)
	b.release(first)
	b.want("f", idempotency.Busy)
	b.complete(second, nil)
	b.complete(first, idempotency.ErrFenced)
	b.want("other", idempotency.Done)
	b.want("f", idempotency.Conflict)
}

func lateComplete(b *bench) {
	c := b.mustClaim("f")
	b.clock.Advance(2 * lease)
	b.complete(c, nil)
	b.want("f", idempotency.Done)
}

func release(b *bench) {
	first := b.mustClaim("f")
	b.release(first)
	b.release(first)
	b.complete(first, idempotency.ErrFenced)
	b.complete(b.mustClaim("other"), nil)
	b.want("f", idempotency.Conflict)
}

func foreignRelease(b *bench) {
	c := b.mustClaim("f")
	b.release(idempotency.Claim{Key: "k", Group: "g", Fingerprint: "f", Token: c.Token + 1})
	b.release(idempotency.Claim{Key: "nobody", Group: "g", Token: 1})
	b.want("f", idempotency.Busy)
	b.complete(c, nil)
	b.release(c)
	b.want("f", idempotency.Done)
}

// releasedStaysFenced: a store that starts its tokens anew after a release would
// let a worker that was thought dead complete the claim of another one.
func releasedStaysFenced(b *bench) {
	zombie := b.mustClaim("f")
	b.clock.Advance(lease)
	b.release(b.mustClaim("f"))
	third := b.mustClaim("f")
	b.complete(zombie, idempotency.ErrFenced)
	b.release(zombie)
	b.want("f", idempotency.Busy)
	b.release(third)
	b.complete(third, idempotency.ErrFenced)
	fourth := b.mustClaim("f")
	b.complete(third, idempotency.ErrFenced)
	b.complete(fourth, nil)
}

func conflict(b *bench) {
	b.complete(b.mustClaim("f"), nil)
	b.want("other", idempotency.Conflict)
	b.want("", idempotency.Conflict)
	b.want("f", idempotency.Done)
}

func ttl(b *bench) {
	c := b.mustClaim("f")
	b.complete(c, nil)
	b.clock.Advance(TTL - time.Millisecond)
	b.complete(c, nil) // completing again does not keep it longer
	b.want("f", idempotency.Done)
	b.clock.Advance(time.Millisecond)
	b.complete(b.mustClaim("other"), nil)
	b.complete(c, idempotency.ErrFenced)
	b.want("f", idempotency.Conflict)
}

func extend(b *bench) {
	extender, ok := b.store.(idempotency.Extender)
	if !ok {
		b.Log("this store does not extend leases")
		return
	}
	try := func(c idempotency.Claim, want error) {
		b.Helper()
		if err := extender.Extend(b.Context(), c, lease); !errors.Is(err, want) {
			b.Fatalf("extend: %v, want %v", err, want)
		}
	}
	c := b.mustClaim("f")
	b.clock.Advance(lease - time.Second)
	try(c, nil)
	if r := b.want("f", idempotency.Busy); !r.BusyUntil.Equal(b.clock.Now().Add(lease)) {
		b.Errorf("busy until %v, want %v", r.BusyUntil, b.clock.Now().Add(lease))
	}
	b.clock.Advance(lease)
	taken := b.mustClaim("f")
	try(c, idempotency.ErrFenced)
	b.complete(taken, nil)
	try(taken, idempotency.ErrFenced)
	if err := extender.Extend(b.Context(), taken, 0); err == nil {
		b.Error("extend by nothing: accepted")
	}
}

func cancelled(b *bench) {
	ctx, cancel := context.WithCancel(b.Context())
	cancel()
	if r, err := b.store.Claim(ctx, "k", "g", "f", lease); !errors.Is(err, context.Canceled) {
		b.Errorf("claim: %v, %v, want the context's error", r.State, err)
	}
}

func awkward(b *bench) {
	for _, key := range []string{"'; DROP TABLE x; --", "%", "_", "\\", `"`, "$1", "?", "Grüße 🚀", "a\tb"} {
		r := b.claim(key, "g "+key, "f "+key)
		if r.State != idempotency.Claimed {
			b.Fatalf("%q: %v", key, r.State)
		}
		b.complete(r.Claim, nil)
		if r := b.claim(key, "g "+key, "f "+key); r.State != idempotency.Done {
			b.Errorf("%q: %v, want done", key, r.State)
		}
	}
}
