package redrivesqs

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestShelfKeepsGroupsInOrder plays arrivals, hand-overs and ends at random: of a group
// at most one is out, each is handed out in order of arrival, and what follows one that
// stays goes back.
func TestShelfKeepsGroupsInOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := newShelf(true)
		now := time.Unix(1000, 0)
		var out []*delivery
		last := map[string]int{}
		arrived, returned := 0, 0
		remove := func(i int) *delivery {
			d := out[i]
			out = append(out[:i], out[i+1:]...)
			return d
		}
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			now = now.Add(100 * time.Millisecond)
			switch step := rapid.IntRange(0, 3).Draw(t, "step"); {
			case step == 0:
				arrived++
				d := &delivery{group: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "group"), count: arrived, receivedAt: now}
				if rapid.Bool().Draw(t, "early") {
					d.due = now.Add(300 * time.Millisecond)
				}
				s.put(d, now)
			case step == 1:
				d := s.next(now)
				if d == nil {
					continue
				}
				if now.Before(d.due) {
					t.Fatal("handed out before it was due")
				}
				for _, o := range out {
					if o.group == d.group {
						t.Fatalf("two of group %s are out", d.group)
					}
				}
				if d.count < last[d.group] {
					t.Fatalf("message %d of group %s after %d", d.count, d.group, last[d.group])
				}
				last[d.group] = d.count
				out = append(out, d)
			case len(out) > 0:
				d := remove(rapid.IntRange(0, len(out)-1).Draw(t, "which"))
				if step == 2 {
					s.gone(d)
					continue
				}
				for _, b := range s.blocked(d) {
					returned++
					if b.group != d.group {
						t.Fatal("one of another group went back")
					}
				}
			}
		}
		back := len(s.all())
		if s.next(now.Add(time.Hour)) != nil {
			t.Fatal("an empty shelf hands out")
		}
		_ = back + returned
	})
}

// TestShelfNeverHoldsTooLong: what nobody takes goes back, and what waits behind
// another before its lease ends.
func TestShelfNeverHoldsTooLong(t *testing.T) {
	t.Parallel()
	s := newShelf(true)
	now := time.Unix(1000, 0)
	for i := range 3 {
		s.put(&delivery{group: "g", count: i, receivedAt: now}, now)
	}
	head := s.next(now)
	if got := s.stale(now.Add(4*time.Second), time.Second, 5*time.Second); len(got) != 0 {
		t.Errorf("%d went back too early", len(got))
	}
	if got := s.stale(now.Add(5*time.Second), time.Second, 5*time.Second); len(got) != 2 {
		t.Errorf("%d of 2 behind a slow one went back", len(got))
	}
	s.gone(head)
	s.put(&delivery{group: "g", receivedAt: now}, now)
	if got := s.stale(now.Add(time.Second), time.Second, 5*time.Second); len(got) != 1 {
		t.Errorf("%d of 1 unclaimed went back", len(got))
	}
}
