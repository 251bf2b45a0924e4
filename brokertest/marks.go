package brokertest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redrive-dev/redrive/broker"
)

// RunMarkStore checks that a store keeps the contract of [broker.MarkStore]. Open
// returns a client of one and the same empty store for each call within a test: the
// cases open two and read with one what the other wrote.
func RunMarkStore(t *testing.T, open func(t *testing.T) broker.MarkStore) {
	t.Helper()
	for _, c := range []struct {
		name string
		run  func(*markBench)
	}{
		{"nothing is known of a new copy", func(b *markBench) { b.want("new", broker.Mark{}) }},
		{"a mark is read as it was stored", markContent},
		{"the newest mark counts", markReplaced},
		{"a deleted mark is gone, and deleting again is no error", markDeleted},
		{"copies are apart, whatever bytes name them", marksApart},
		{"another client reads it", markShared},
		{"a cancelled context changes nothing", markCancelled},
		{"many at once", marksConcurrently},
		{"random operations against a map", marksRandomly},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(&markBench{T: t, store: open(t), open: open}) })
	}
}

// markBench is a store under test.
type markBench struct {
	*testing.T
	store broker.MarkStore
	open  func(t *testing.T) broker.MarkStore
}

func (b *markBench) put(id string, mark broker.Mark) {
	b.Helper()
	if err := b.store.StoreMark(b.Context(), id, mark); err != nil {
		b.Fatalf("store the mark of %q: %v", id, err)
	}
}

func (b *markBench) drop(id string) {
	b.Helper()
	if err := b.store.DeleteMark(b.Context(), id); err != nil {
		b.Fatalf("delete the mark of %q: %v", id, err)
	}
}

func (b *markBench) want(id string, want broker.Mark) {
	b.Helper()
	got, err := b.store.LoadMark(b.Context(), id)
	if err != nil {
		b.Fatalf("load the mark of %q: %v", id, err)
	}
	if !equalMarks(got, want) {
		b.Errorf("the mark of %q is %s, want %s", id, showMark(got), showMark(want))
	}
}

func showMark(m broker.Mark) string {
	if m.Pending == nil {
		return fmt.Sprintf("%+v", m)
	}
	return fmt.Sprintf("{Explained:%d StartedAlone:%d Pending:%+v}", m.Explained, m.StartedAlone, *m.Pending)
}

func fullMark() broker.Mark {
	return broker.Mark{Explained: 3, StartedAlone: 2, Pending: &broker.Pending{
		Retry: true, Queue: "orders.dlq.quarantine.crash", At: time.Date(2026, 3, 4, 5, 6, 7, 891_000_000, time.UTC),
		Envelope: []byte("\x00\xff{\"v\":1,\"text\":\"Grüße 🚀 '; --\"}"), PublishID: "dl:a/b/7:billing", Counted: true,
	}}
}

func markContent(b *markBench) {
	for id, mark := range map[string]broker.Mark{
		"full":        fullMark(),
		"explained":   {Explained: 1},
		"started":     {StartedAlone: 7},
		"pending":     {Pending: &broker.Pending{Queue: "q", PublishID: "p"}},
		"large":       {Pending: &broker.Pending{Envelope: []byte(strings.Repeat("e", 64<<10))}},
		"nothing yet": {},
	} {
		b.put(id, mark)
		b.want(id, mark)
	}
}

func markReplaced(b *markBench) {
	b.put("c", fullMark())
	b.put("c", broker.Mark{Explained: 1})
	b.want("c", broker.Mark{Explained: 1})
	b.put("c", broker.Mark{})
	b.want("c", broker.Mark{})
}

func markDeleted(b *markBench) {
	b.put("c", fullMark())
	b.drop("c")
	b.want("c", broker.Mark{})
	b.drop("c")
	b.drop("never there")
	b.put("c", broker.Mark{Explained: 9})
	b.want("c", broker.Mark{Explained: 9})
}

func marksApart(b *markBench) {
	ids := []string{
		"a", "A", "a ", " a", "a\x00", "\xff\xfe", "", "'; DROP TABLE x; --", "%", "_", `\`, "$1", "?", "Grüße 🚀",
		strings.Repeat("x", 4096), strings.Repeat("x", 4095) + "y", "a/b", "a%2Fb",
	}
	for i, id := range ids {
		b.put(id, broker.Mark{Explained: i + 1})
	}
	b.drop("a")
	for i, id := range ids[1:] {
		b.want(id, broker.Mark{Explained: i + 2})
	}
	b.want("a", broker.Mark{})
}

func markShared(b *markBench) {
	other := &markBench{T: b.T, store: b.open(b.T)}
	b.put("c", fullMark())
	other.want("c", fullMark())
	other.drop("c")
	b.want("c", broker.Mark{})
}

func markCancelled(b *markBench) {
	b.put("c", broker.Mark{Explained: 1})
	ctx, cancel := context.WithCancel(b.Context())
	cancel()
	_, loading := b.store.LoadMark(ctx, "c")
	for what, err := range map[string]error{
		"load": loading, "store": b.store.StoreMark(ctx, "c", broker.Mark{Explained: 2}), "delete": b.store.DeleteMark(ctx, "c"),
	} {
		if !errors.Is(err, context.Canceled) {
			b.Errorf("%s: %v, want the context's error", what, err)
		}
	}
	b.want("c", broker.Mark{Explained: 1})
}

func marksConcurrently(b *markBench) {
	const workers, writes = 8, 25
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			own := fmt.Sprint("own ", w)
			for i := range writes {
				for _, id := range []string{own, "shared"} {
					if err := b.store.StoreMark(b.Context(), id, broker.Mark{Explained: w + 1, StartedAlone: i + 1}); err != nil {
						b.Errorf("store: %v", err)
					}
				}
				if got, err := b.store.LoadMark(b.Context(), own); err != nil || got.StartedAlone != i+1 {
					b.Errorf("load: %+v, %v, want %d", got, err, i+1)
				}
			}
		})
	}
	wg.Wait()
	if got, err := b.store.LoadMark(b.Context(), "shared"); err != nil || got.Explained == 0 || got.StartedAlone != writes {
		b.Errorf("the shared mark is %+v, %v, want the last one of some worker", got, err)
	}
}

// marksRandomly runs from a fixed seed, so that a failure comes again.
func marksRandomly(b *markBench) {
	model, rng := map[string]broker.Mark{}, rand.New(rand.NewPCG(1, 2))
	for range 300 {
		id := string(rune('a' + rng.IntN(4)))
		switch rng.IntN(3) {
		case 0:
			mark := broker.Mark{Explained: rng.IntN(3)}
			if rng.IntN(3) == 0 {
				mark.Pending = &broker.Pending{PublishID: strconv.Itoa(rng.IntN(9))}
			}
			b.put(id, mark)
			model[id] = mark
		case 1:
			b.drop(id)
			delete(model, id)
		case 2:
			b.want(id, model[id])
		}
	}
}
