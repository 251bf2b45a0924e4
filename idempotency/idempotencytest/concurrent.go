package idempotencytest

import (
	"math/rand/v2"
	"sync"
	"time"

	"github.com/redrive-dev/redrive/idempotency"
)

const racers = 100

// race claims the key k for the group g from many goroutines at once. Those that
// lose must be told when the winner's lease ends: they come back then.
func race(b *bench) (won []idempotency.Claim) {
	b.Helper()
	var mu sync.Mutex
	var wg sync.WaitGroup
	start, until := make(chan struct{}), b.clock.Now().Add(lease)
	for range racers {
		wg.Go(func() {
			<-start
			r, err := b.store.Claim(b.Context(), "k", "g", "f", lease)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err != nil:
				b.Errorf("claim: %v", err)
			case r.State == idempotency.Claimed:
				won = append(won, r.Claim)
			case r.State != idempotency.Busy:
				b.Errorf("state is %v, want claimed or busy", r.State)
			case r.BusyUntil.After(until):
				// Earlier is allowed: it may have lost before the winner's lease could be read.
				b.Errorf("one that lost is told busy until %v, later than the end of the winner's lease, %v", r.BusyUntil, until)
			}
		})
	}
	close(start)
	wg.Wait()
	if len(won) != 1 {
		b.Fatalf("%d of %d won the claim, want 1", len(won), racers)
	}
	return won
}

func oneWinner(b *bench) {
	b.complete(race(b)[0], nil)
	b.want("f", idempotency.Done)
}

func oneTakeover(b *bench) {
	dead := b.mustClaim("f")
	b.clock.Advance(lease)
	winner := race(b)[0]
	b.complete(dead, idempotency.ErrFenced)
	b.complete(winner, nil)
}

// random runs the same operations on the store and on the model, from fixed
// seeds, so that a failure comes again.
func random(b *bench) {
	model := NewModel(b.clock.Now, TTL)
	rng := rand.New(rand.NewPCG(1, 2))
	var pairs []claimPair
	for step := range 600 {
		if len(pairs) == 0 || rng.IntN(3) == 0 {
			if p, ok := claimBoth(b, model, rng, step); ok {
				pairs = append(pairs, p)
			}
			continue
		}
		p := pairs[rng.IntN(len(pairs))]
		switch rng.IntN(4) {
		case 0:
			same(b, step, "complete", b.store.Complete(b.Context(), p.store), model.Complete(b.Context(), p.model))
		case 1:
			same(b, step, "release", b.store.Release(b.Context(), p.store), model.Release(b.Context(), p.model))
		case 2:
			if extender, ok := b.store.(idempotency.Extender); ok {
				same(b, step, "extend", extender.Extend(b.Context(), p.store, lease), model.Extend(b.Context(), p.model, lease))
			}
		case 3:
			b.clock.Advance([]time.Duration{time.Millisecond, lease / 3, lease, TTL / 2}[rng.IntN(4)])
		}
	}
}

// claimPair is one claim as the store and as the model gave it: tokens differ.
type claimPair struct{ store, model idempotency.Claim }

func claimBoth(b *bench, model *Model, rng *rand.Rand, step int) (claimPair, bool) {
	b.Helper()
	key := string(rune('a' + rng.IntN(3)))
	group := string(rune('g' + rng.IntN(2)))
	fingerprint := string(rune('x' + rng.IntN(2)))
	got := b.claim(key, group, fingerprint)
	want, err := model.Claim(b.Context(), key, group, fingerprint, lease)
	if err != nil {
		b.Fatal(err)
	}
	if got.State != want.State || !got.BusyUntil.Equal(want.BusyUntil) {
		b.Fatalf("step %d: claim of %s for %s with %s gives %v until %v, want %v until %v",
			step, key, group, fingerprint, got.State, got.BusyUntil, want.State, want.BusyUntil)
	}
	return claimPair{got.Claim, want.Claim}, got.State == idempotency.Claimed
}

func same(b *bench, step int, what string, got, want error) {
	b.Helper()
	if (got == nil) != (want == nil) {
		b.Fatalf("step %d: %s gives %v, want %v", step, what, got, want)
	}
}
