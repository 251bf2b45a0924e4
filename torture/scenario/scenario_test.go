package scenario_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/torture/checker"
	"github.com/redrive-dev/redrive/torture/scenario"
)

func id(n int) checker.ID { return checker.ID{Producer: uint16(1 + n%4), Counter: uint32(n / 4)} }

// The mix comes out as it is asked for, and every outcome of it is there.
func TestMix(t *testing.T) {
	const n = 40_000
	for _, mix := range []scenario.Mix{scenario.Usual, scenario.Harsh} {
		s := scenario.Scenario{Seed: 1, Mix: mix}
		count := map[scenario.Outcome]int{}
		for i := range n {
			script := s.Script(id(i))
			count[script.Outcome]++
			if (script.Outcome == scenario.FailFirst) != (script.Fails > 0) || script.Fails >= scenario.Attempts {
				t.Fatalf("%+v", script)
			}
		}
		permanent := 0
		for o := scenario.Schema; o <= scenario.Requested; o++ {
			permanent += count[o]
			if count[o] < n*mix.Permanent/100/10 {
				t.Errorf("outcome %d comes only %d times", o, count[o])
			}
		}
		for _, share := range []struct {
			name      string
			got, want int
		}{
			{"transient", count[scenario.FailFirst], mix.Transient},
			{"permanent", permanent, mix.Permanent},
			{"hopeless", count[scenario.Hopeless], mix.Hopeless},
			{"slow", count[scenario.Slow], mix.Slow},
			{"panic", count[scenario.Panic], mix.Panic},
			{"success", count[scenario.Succeed], 100 - mix.Transient - mix.Hopeless - mix.Permanent - mix.Slow - mix.Panic},
		} {
			if want := n * share.want / 100; share.got < want*8/10 || share.got > want*12/10 {
				t.Errorf("%s: %d of %d, want about %d", share.name, share.got, n, want)
			}
		}
	}
}

func TestScriptAndMessageFollowFromSeedAndID(t *testing.T) {
	a, b := scenario.Scenario{Seed: 1, Mix: scenario.Harsh}, scenario.Scenario{Seed: 2, Mix: scenario.Harsh}
	differ := 0
	for i := range 100 {
		if diff := cmp.Diff(a.Script(id(i)), a.Script(id(i))); diff != "" {
			t.Fatal(diff)
		}
		digests := map[checker.Digest]bool{a.Digest(id(i)): true, b.Digest(id(i)): true, a.Digest(id(i + 1)): true}
		if len(digests) != 3 {
			t.Fatalf("the digest of %s does not follow from seed and id", id(i))
		}
		if a.Script(id(i)) != b.Script(id(i)) {
			differ++
		}
	}
	if differ < 50 {
		t.Errorf("only %d of 100 scripts differ between two seeds", differ)
	}
}

func TestBeaconsSucceed(t *testing.T) {
	s := scenario.Scenario{Mix: scenario.Mix{Panic: 100}}
	for i := range uint32(100) {
		b := checker.ID{Producer: scenario.Beacon, Counter: i}
		if got := s.Script(b); got != (scenario.Script{Outcome: scenario.Succeed}) || s.Fate(b).Fails {
			t.Fatalf("%s: %+v", b, got)
		}
	}
}

func TestFateFollowsTheScript(t *testing.T) {
	s := scenario.Scenario{Mix: scenario.Harsh}
	for i := range 10_000 {
		script, fate := s.Script(id(i)), s.Fate(id(i))
		succeeds := script.Outcome == scenario.Succeed || script.Outcome == scenario.FailFirst || script.Outcome == scenario.Slow
		if succeeds == fate.Fails || succeeds != (fate.Category == "") {
			t.Fatalf("%+v has the fate %+v", script, fate)
		}
	}
}

func TestIDIsReadFromBodyAndHeader(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := scenario.Scenario{Seed: rapid.Uint64().Draw(t, "seed")}
		want := checker.ID{Producer: rapid.Uint16().Draw(t, "producer"), Counter: rapid.Uint32().Draw(t, "counter")}
		body, headers := s.Message(want)
		got, err := scenario.ID(body, headers)
		if err != nil || got != want {
			t.Fatalf("%s read as %s, %v", want, got, err)
		}
		if s.Digest(want) != scenario.Sum(body, headers) {
			t.Fatal("the digest is not that of the message")
		}
	})
	other := []broker.Header{{Name: scenario.HeaderID, Value: []byte("1-2")}}
	for name, m := range map[string]broker.Message{
		"empty":      {},
		"no header":  {Body: []byte("1-1\n")},
		"no number":  {Body: []byte("hello"), Headers: other},
		"two ids":    {Body: []byte("1-1\n"), Headers: other},
		"no line":    {Body: []byte("1-2 and more"), Headers: other},
		"other case": {Body: []byte("1-2\n"), Headers: []broker.Header{{Name: "torture-id", Value: []byte("1-2")}}},
	} {
		if got, err := scenario.ID(m.Body, m.Headers); err == nil {
			t.Errorf("%s: read as %s", name, got)
		}
	}
}
