package controller

import (
	"testing"

	"github.com/redrive-dev/redrive/torture/checker"
)

func TestGhostsAreMessagesThatWereHandled(t *testing.T) {
	id := func(n uint32) checker.ID { return checker.ID{Producer: 1, Counter: n} }
	journals := [][]checker.Record{{{ID: id(1), Kind: checker.Started}, {ID: id(1), Kind: checker.Effect}}, {{ID: id(3), Kind: checker.Started}}}
	pending := func(n uint32) checker.Letter { return checker.Letter{ID: id(n), Place: checker.Pending} }
	dead := checker.Letter{ID: id(2), Place: checker.DeadLettered}
	for _, c := range []struct {
		rule    string
		letters []checker.Letter
		want    bool
	}{
		{"nothing is left", []checker.Letter{dead}, true},
		{"what had its effect", []checker.Letter{pending(1)}, true},
		{"what is a letter", []checker.Letter{pending(2), dead}, true},
		{"what was only begun", []checker.Letter{pending(3)}, false},
		{"what nobody has seen", []checker.Letter{pending(1), pending(4)}, false},
	} {
		if got := handled(journals, c.letters); got != c.want {
			t.Errorf("%s: %v, want %v", c.rule, got, c.want)
		}
	}
}
