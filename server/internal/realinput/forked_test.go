package realinput_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/redrive-dev/redrive/envelope"
)

// TestOnlyAKilledWorkerExplainsTwoLetters holds the checker to what it promises:
// a fault that stores a letter twice must not pass for a repeated message.
func TestOnlyAKilledWorkerExplainsTwoLetters(t *testing.T) {
	t.Parallel()
	letter := func(place, id string, workers ...string) ending {
		e := envelope.Envelope{PublishID: "dl:" + id, Incarnation: id}
		for _, w := range workers {
			e.Attempts = append(e.Attempts, envelope.Attempt{Worker: w, ErrorType: "http 500"})
		}
		return ending{place, e}
	}
	died := letter("dlq", "a", "life 1", "life 2", "life 4")
	for name, test := range map[string]struct {
		other ending
		want  bool
	}{
		"went on in another life":       {letter("dlq", "b", "life 1", "life 3", "life 4"), true},
		"went on to another queue":      {letter("quarantine", "a", "life 1", "life 3", "life 4"), true},
		"stored twice":                  {died, false},
		"stored twice with another end": {letter("dlq", "a", "life 1", "life 3", "life 4"), false},
		"sent to two queues":            {letter("quarantine", "a", "life 1", "life 2", "life 4"), false},
		"sent twice with two ids":       {letter("dlq", "b", "life 1", "life 2", "life 4"), false},
		"one history is longer":         {letter("dlq", "b", "life 1", "life 2"), false},
		"never failed":                  {letter("dlq", "b"), false},
		"handled and dead":              {ending{place: handled}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, test.want, forked(died, test.other))
			require.Equal(t, test.want, forked(test.other, died))
		})
	}
	changed := letter("dlq", "b", "life 1", "life 2", "life 4")
	changed.envelope.Attempts[1].ErrorType = "http 503"
	require.False(t, forked(died, changed), "one worker made both")
	require.NotEmpty(t, misplaced(broke, nil))
	require.NotEmpty(t, misplaced(accept, []ending{{place: broke.places()[0]}}))
	require.Empty(t, misplaced(accept, []ending{{place: handled}}))
}
