package demo

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// A run ends when its orders have found their places, also on a broker that only
// estimates, and not before.
func TestCalm(t *testing.T) {
	t.Parallel()
	exact := func(waiting int64) reading { return reading{waiting: waiting, exact: true} }
	rough := func(waiting int64, handled int, letters int64) reading {
		return reading{waiting: waiting, handled: handled, letters: letters}
	}
	repeat := func(r reading, n int) []reading {
		out := make([]reading, n)
		for i := range out {
			out[i] = r
		}
		return out
	}
	for name, tt := range map[string]struct {
		readings      []reading
		idle, settled bool
	}{
		"empty, exactly":                       {repeat(exact(0), calmRounds), true, true},
		"empty, but not often enough":          {repeat(exact(0), calmRounds-1), true, false},
		"filled again in between":              {append(repeat(exact(0), 2), exact(1), exact(0)), true, false},
		"estimated, and all are found":         {repeat(rough(0, 7, 3), calmRounds), true, true},
		"estimated empty, and some are not":    {repeat(rough(0, 7, 2), calmRounds), false, false},
		"estimated empty for long, one lost":   {repeat(rough(0, 7, 2), emptyRounds), false, true},
		"all found, and estimated not to be":   {repeat(rough(1, 7, 3), emptyRounds), false, false},
		"repeats make more letters than there": {repeat(rough(0, 8, 5), calmRounds), true, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var c calm
			var idle, settled bool
			for _, r := range tt.readings {
				idle, settled = c.see(r, 10)
			}
			require.Equal(t, tt.idle, idle)
			require.Equal(t, tt.settled, settled)
		})
	}
}
