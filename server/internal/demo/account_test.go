package demo_test

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/envelope"
	"github.com/redrive-dev/redrive/failure"
	"github.com/redrive-dev/redrive/server/internal/demo"
)

func digest(id uint64) demo.Digest { return sha256.Sum256([]byte(fmt.Sprint("order ", id))) }

// letter is where an order of a kind belongs that does not take effect.
func letter(id uint64, kind demo.Kind) demo.Copy {
	n := broker.NamesFor(demo.Source, "")
	dead := func(c failure.Category, r envelope.Reason) demo.Copy {
		return demo.Copy{ID: id, Queue: n.DeadLetter, Kind: broker.KindDeadLetter, Body: digest(id), Category: c, Reason: r, Attempts: 1}
	}
	quarantined := func(c failure.Category, r envelope.Reason) demo.Copy {
		return demo.Copy{ID: id, Queue: n.Quarantine(c), Kind: broker.KindQuarantine, Body: digest(id), Category: c, Reason: r, Attempts: 5}
	}
	switch kind {
	case demo.Malformed:
		return dead(failure.Schema, envelope.ReasonPermanent)
	case demo.Refused:
		return dead(failure.Business, envelope.ReasonPermanent)
	case demo.Poison:
		return quarantined(failure.Transient, envelope.ReasonPoison)
	case demo.Panicking:
		return quarantined(failure.Crash, envelope.ReasonPanic)
	default:
		return quarantined(failure.Crash, envelope.ReasonCrashLoop)
	}
}

// balanced makes books in which every order is where it belongs.
func balanced(n int, plan demo.Plan) demo.Books {
	b := demo.Books{Published: map[uint64]demo.Digest{}, Confirmed: map[uint64]bool{}, Plan: plan}
	for id := uint64(1); id <= uint64(n); id++ {
		b.Published[id], b.Confirmed[id] = digest(id), true
		switch kind, failures := plan.Of(id); kind {
		case demo.Ordinary, demo.Brief:
			b.Effects = append(b.Effects, demo.Effect{ID: id, Attempt: uint32(failures + 1), FailedBefore: failures > 0})
		default:
			b.Copies = append(b.Copies, letter(id, kind))
		}
	}
	return b
}

func drawBooks(t *rapid.T) (demo.Books, int) {
	n := rapid.IntRange(20, 300).Draw(t, "orders")
	plan := demo.Plan{Seed: rapid.Uint64().Draw(t, "seed"), Block: n}
	return balanced(n, plan), n
}

func TestBalanceOfGoodBooks(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		b, n := drawBooks(t)
		a := demo.Balance(b)
		if !a.Balanced || !a.Settled || a.Published != n || a.Handled != len(b.Effects) || len(a.Problems) > 0 {
			t.Fatalf("%+v", a)
		}
		total := 0
		for _, orders := range a.Attempts {
			total += orders
		}
		if total != n {
			t.Fatalf("the histogram has %d orders, want %d", total, n)
		}
	})
}

// wrongs are ways in which books can be wrong, each with the field that counts
// them.
func wrongs() map[string]func(t *rapid.T, b *demo.Books) func(demo.Account) int {
	effect := func(t *rapid.T, b *demo.Books) int {
		return rapid.IntRange(0, len(b.Effects)-1).Draw(t, "effect")
	}
	copied := func(t *rapid.T, b *demo.Books) int {
		return rapid.IntRange(0, len(b.Copies)-1).Draw(t, "copy")
	}
	lost := func(a demo.Account) int { return a.Lost }
	unexpected := func(a demo.Account) int { return a.Unexpected }
	altered := func(a demo.Account) int { return a.Altered }
	return map[string]func(*rapid.T, *demo.Books) func(demo.Account) int{
		"effect missing": func(t *rapid.T, b *demo.Books) func(demo.Account) int {
			i := effect(t, b)
			b.Effects = append(b.Effects[:i:i], b.Effects[i+1:]...)
			return lost
		},
		"letter missing": func(t *rapid.T, b *demo.Books) func(demo.Account) int {
			i := copied(t, b)
			b.Copies = append(b.Copies[:i:i], b.Copies[i+1:]...)
			return lost
		},
		"body changed": func(t *rapid.T, b *demo.Books) func(demo.Account) int {
			i := copied(t, b)
			b.Copies[i].Body[rapid.IntRange(0, 31).Draw(t, "byte")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
			return altered
		},
		"key changed": func(t *rapid.T, b *demo.Books) func(demo.Account) int {
			b.Copies[copied(t, b)].KeyChanged = true
			return altered
		},
		"letter of nobody": func(t *rapid.T, b *demo.Books) func(demo.Account) int {
			c := b.Copies[copied(t, b)]
			c.ID = uint64(len(b.Published)) + rapid.Uint64Range(1, 1000).Draw(t, "id")
			b.Copies = append(b.Copies, c)
			return unexpected
		},
		"effect of nobody": func(t *rapid.T, b *demo.Books) func(demo.Account) int {
			b.Effects = append(b.Effects, demo.Effect{ID: uint64(len(b.Published)) + 1, Attempt: 1})
			return unexpected
		},
		"effect and letter": func(t *rapid.T, b *demo.Books) func(demo.Account) int {
			b.Effects = append(b.Effects, demo.Effect{ID: b.Copies[copied(t, b)].ID, Attempt: 1})
			return func(a demo.Account) int { return a.Contradictory }
		},
		"effect of an order that cannot have one": func(t *rapid.T, b *demo.Books) func(demo.Account) int {
			i := copied(t, b)
			b.Effects = append(b.Effects, demo.Effect{ID: b.Copies[i].ID, Attempt: 1})
			b.Copies = append(b.Copies[:i:i], b.Copies[i+1:]...)
			return unexpected
		},
		"wrong reason": func(t *rapid.T, b *demo.Books) func(demo.Account) int {
			b.Copies[copied(t, b)].Reason = envelope.ReasonExpired
			return unexpected
		},
		"given up in the outage": func(t *rapid.T, b *demo.Books) func(demo.Account) int {
			for i, e := range b.Effects {
				if kind, _ := b.Plan.Of(e.ID); kind == demo.Ordinary {
					b.Effects = append(b.Effects[:i:i], b.Effects[i+1:]...)
					c := letter(e.ID, demo.Poison)
					b.Copies = append(b.Copies, c)
					break
				}
			}
			return func(a demo.Account) int { return a.OutageDeadLettered }
		},
		"still waiting": func(t *rapid.T, b *demo.Books) func(demo.Account) int {
			i := effect(t, b)
			id := b.Effects[i].ID
			b.Effects = append(b.Effects[:i:i], b.Effects[i+1:]...)
			b.Copies = append(b.Copies, demo.Copy{ID: id, Queue: demo.Source, Kind: broker.KindSource, Body: digest(id)})
			return func(a demo.Account) int { return a.Pending }
		},
	}
}

// Whatever is wrong with one order is counted once, is told, and ends the
// balance.
func TestBalanceReportsEveryWrong(t *testing.T) {
	t.Parallel()
	for name, wrong := range wrongs() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(t *rapid.T) {
				b, n := drawBooks(t)
				counted := wrong(t, &b)
				a := demo.Balance(b)
				if a.Balanced || counted(a) != 1 || len(a.Problems) == 0 || a.Published != n {
					t.Fatalf("%+v", a)
				}
			})
		})
	}
}

// Repeats are reported and break nothing: a killed process makes them.
func TestRepeatsAreCounted(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		b, _ := drawBooks(t)
		effects := rapid.IntRange(0, 5).Draw(t, "effects")
		for range effects {
			b.Effects = append(b.Effects, b.Effects[rapid.IntRange(0, len(b.Effects)-1).Draw(t, "effect")])
		}
		letters := rapid.IntRange(0, 5).Draw(t, "letters")
		for range letters {
			b.Copies = append(b.Copies, b.Copies[rapid.IntRange(0, len(b.Copies)-1).Draw(t, "letter")])
		}
		if a := demo.Balance(b); a.Duplicates != effects+letters || !a.Balanced {
			t.Fatalf("want %d duplicates: %+v", effects+letters, a)
		}
	})
}

func TestUnconfirmedOrdersMayBeAnywhere(t *testing.T) {
	t.Parallel()
	b := balanced(50, demo.Plan{Block: 50})
	for id := uint64(51); id <= 60; id++ {
		b.Published[id] = digest(id)
	}
	b.Effects = append(b.Effects, demo.Effect{ID: 51, Attempt: 1})
	a := demo.Balance(b)
	require.True(t, a.Balanced, "%+v", a)
	require.Equal(t, 51, a.Published)
}

func TestUnfinishedRunsBalanceWithWhatWaits(t *testing.T) {
	t.Parallel()
	b := balanced(50, demo.Plan{Block: 50})
	id := b.Effects[0].ID
	b.Effects = b.Effects[1:]
	b.Copies = append(b.Copies, demo.Copy{ID: id, Queue: demo.Source, Kind: broker.KindSource, Body: digest(id)})
	require.False(t, demo.Balance(b).Balanced)
	b.Unfinished = true
	a := demo.Balance(b)
	require.True(t, a.Balanced)
	require.False(t, a.Settled)
	require.Equal(t, 1, a.Pending)
}

func TestBystanderOfKillsMayBeQuarantined(t *testing.T) {
	t.Parallel()
	b := balanced(50, demo.Plan{Block: 50})
	id := b.Effects[0].ID
	b.Effects = b.Effects[1:]
	b.Copies = append(b.Copies, letter(id, demo.Killer))
	require.False(t, demo.Balance(b).Balanced)
	b.Kills = 3
	require.True(t, demo.Balance(b).Balanced)
}

func TestAccountJSON(t *testing.T) {
	t.Parallel()
	raw, err := json.Marshal(demo.Balance(demo.Books{}))
	require.NoError(t, err)
	want := `{"published":0,"handled":0,"retried":0,"dead_lettered":{},"quarantined":{},"pending":0,"duplicates":0,"attempts":{},` +
		`"breaker_openings":0,"worker_deaths":0,"kills":0,"outage_dead_lettered":0,"lost":0,"unexpected":0,"altered":0,"contradictory":0,` +
		`"settled":true,"duration_seconds":0,"balanced":true,"problems":[]}`
	require.Empty(t, cmp.Diff(want, string(raw)))
}

func TestAccountForPeople(t *testing.T) {
	t.Parallel()
	b := balanced(1200, demo.Plan{Seed: 1, Block: 1200})
	var out strings.Builder
	a := demo.Balance(b)
	require.NoError(t, a.WriteText(&out))
	require.Contains(t, out.String(), "published               1,200\n")
	require.Contains(t, out.String(), "balanced: every order is handled, waiting, dead-lettered or in quarantine")

	out.Reset()
	b.Effects = b.Effects[1:]
	a = demo.Balance(b)
	require.NoError(t, a.WriteText(&out))
	require.Contains(t, out.String(), "lost                    1\n")
	require.Contains(t, out.String(), "NOT BALANCED")
	require.Contains(t, out.String(), "was published and is nowhere")
}
