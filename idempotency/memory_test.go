package idempotency_test

import (
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/redrive-dev/redrive/idempotency"
	"github.com/redrive-dev/redrive/idempotency/idempotencytest"
)

func TestMemory(t *testing.T) {
	idempotencytest.Run(t, func(_ *testing.T, now func() time.Time) idempotency.Store {
		return idempotency.NewMemory(idempotency.WithClock(now), idempotency.WithTTL(idempotencytest.TTL))
	})
}

// TestMemoryAgainstTheModel lets rapid choose the operations and shrink what
// differs from the plain map of the model.
func TestMemoryAgainstTheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		clock := idempotencytest.NewClock()
		model := idempotencytest.NewModel(clock.Now, time.Hour)
		store := idempotency.NewMemory(idempotency.WithClock(clock.Now), idempotency.WithTTL(time.Hour))
		var claims []idempotency.Claim // tokens of both count alike
		pick := func(t *rapid.T) idempotency.Claim {
			if len(claims) == 0 {
				t.Skip("no claim yet")
			}
			return rapid.SampledFrom(claims).Draw(t, "claim")
		}
		check := func(t *rapid.T, got, want error) {
			if !errors.Is(got, want) {
				t.Fatalf("error is %v, want %v", got, want)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"claim": func(t *rapid.T) {
				key := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "key")
				group := rapid.SampledFrom([]string{"g", "h"}).Draw(t, "group")
				fingerprint := rapid.SampledFrom([]string{"x", "y"}).Draw(t, "fingerprint")
				lease := time.Duration(rapid.IntRange(1, 100).Draw(t, "lease")) * time.Minute
				got, err := store.Claim(t.Context(), key, group, fingerprint, lease)
				if err != nil {
					t.Fatal(err)
				}
				want, err := model.Claim(t.Context(), key, group, fingerprint, lease)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Fatalf("claim (-model +store):\n%s", diff)
				}
				if got.State == idempotency.Claimed {
					claims = append(claims, got.Claim)
				}
			},
			"complete": func(t *rapid.T) {
				c := pick(t)
				check(t, store.Complete(t.Context(), c), model.Complete(t.Context(), c))
			},
			"release": func(t *rapid.T) {
				c := pick(t)
				check(t, store.Release(t.Context(), c), model.Release(t.Context(), c))
			},
			"extend": func(t *rapid.T) {
				c := pick(t)
				check(t, store.Extend(t.Context(), c, time.Minute), model.Extend(t.Context(), c, time.Minute))
			},
			"time": func(t *rapid.T) {
				clock.Advance(time.Duration(rapid.IntRange(0, 70).Draw(t, "minutes")) * time.Minute)
			},
		})
	})
}

func TestMemoryIsBounded(t *testing.T) {
	clock := idempotencytest.NewClock()
	store := idempotency.NewMemory(idempotency.WithClock(clock.Now), idempotency.WithMaxEntries(3))
	claim := func(key string) (idempotency.Result, error) {
		return store.Claim(t.Context(), key, "g", "f", time.Minute)
	}
	var claims []idempotency.Claim
	for i := range 3 {
		r, err := claim(strconv.Itoa(i))
		if err != nil || r.State != idempotency.Claimed {
			t.Fatalf("claim %d: %v, %v", i, r.State, err)
		}
		claims = append(claims, r.Claim)
	}
	if _, err := claim("one too many"); !errors.Is(err, idempotency.ErrFull) {
		t.Fatalf("full of open claims: %v, want ErrFull", err)
	}

	// A handled key makes room: the oldest one goes, and it is counted.
	for _, c := range []idempotency.Claim{claims[1], claims[0]} {
		if err := store.Complete(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := claim("next"); err != nil {
		t.Fatal(err)
	}
	if r, err := claim("0"); err != nil || r.State != idempotency.Done {
		t.Errorf("the newer handled key: %v, %v, want done", r.State, err)
	}
	if store.Len() != 3 || store.Forgotten() != 1 {
		t.Errorf("%d keys, %d forgotten, want 3 and 1", store.Len(), store.Forgotten())
	}

	// So does a claim whose lease has ended, once there is nothing else.
	if _, err := claim("last"); err != nil {
		t.Fatal(err)
	}
	if _, err := claim("refused"); !errors.Is(err, idempotency.ErrFull) {
		t.Fatalf("full of open claims: %v, want ErrFull", err)
	}
	clock.Advance(time.Minute)
	if r, err := claim("after the leases"); err != nil || r.State != idempotency.Claimed {
		t.Errorf("after the leases: %v, %v", r.State, err)
	}
	if store.Len() != 1 {
		t.Errorf("%d keys are left, want 1", store.Len())
	}
}

func TestClaimInContext(t *testing.T) {
	if _, ok := idempotency.ClaimFrom(t.Context()); ok {
		t.Error("a claim in an empty context")
	}
	want := idempotency.Claim{Key: "k", Group: "g", Token: 7}
	if got, ok := idempotency.ClaimFrom(idempotency.WithClaim(t.Context(), want)); !ok || got != want {
		t.Errorf("claim is %+v, %v", got, ok)
	}
}

func TestCheckClaimNamesEverything(t *testing.T) {
	err := idempotency.CheckClaim("", string(make([]byte, idempotency.MaxGroup+1)), 0)
	want := "invalid claim: key: empty\ngroup: 1025 bytes, the most is 1024\nlease: 0s, want more than 0"
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestStateNames(t *testing.T) {
	for state, want := range map[idempotency.State]string{
		idempotency.Claimed: "claimed", idempotency.Done: "done", idempotency.Conflict: "conflict", idempotency.Busy: "busy", 0: "state(0)",
	} {
		if state.String() != want {
			t.Errorf("%q, want %q", state, want)
		}
	}
}

func BenchmarkMemory(b *testing.B) {
	store := idempotency.NewMemory()
	keys := make([]string, 1<<16)
	for i := range keys {
		keys[i] = fmt.Sprint("i:cluster/orders@1767225600/", i)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		r, err := store.Claim(b.Context(), keys[i&(len(keys)-1)], "g", "f", time.Minute)
		if err != nil {
			b.Fatal(err)
		}
		if r.State == idempotency.Claimed {
			if err := store.Complete(b.Context(), r.Claim); err != nil {
				b.Fatal(err)
			}
		}
	}
}
