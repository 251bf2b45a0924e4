package process

import (
	"context"
	"os"
	"path/filepath"
	"sync"

	"github.com/redrive-dev/redrive/bench/rounds"
)

// Experiments are those of this package, with the given number of rounds.
func Experiments(n int, _ bool) []rounds.Experiment {
	var once sync.Once
	var path string
	var failed error
	// The binary is built when the first measurement needs it.
	binary := func(ctx context.Context) (string, error) {
		once.Do(func() { path, failed = kept(ctx) })
		return path, failed
	}
	size := rounds.Experiment{
		ID: "size", Group: group, Title: "Size of the binary", Rounds: 1, Remote: true,
		Method: "Built in the product's workspace, without cgo.",
	}
	for _, name := range []string{strippedName, plainName} {
		size.Subjects = append(size.Subjects, rounds.Subject{Name: name, Measure: sizeOf(builds()[name])})
		size.Targets = append(size.Targets, rounds.Target{Name: "size of the binary, " + name, Of: name, Metric: rounds.Megabytes, Limit: 60})
	}
	return []rounds.Experiment{
		size,
		{
			ID: "start", Group: group, Title: "From the start to the first message", Rounds: n, Remote: true,
			Method: "`redrive up` with the embedded broker, sync `always`, one subscription with a handler over HTTP, and one message that an earlier process left in the queue. " +
				"From just before the process is made until the handler's endpoint has the request.",
			Subjects: []rounds.Subject{{Name: startName, Measure: up(binary, false)}},
			Targets:  []rounds.Target{{Name: "start of the process to the first handled message", Of: startName, Metric: rounds.Milliseconds, Limit: 150}},
		},
		{
			ID: "idle", Group: group, Title: "Memory while nothing happens", Rounds: n, Remote: true,
			Method:   "Resident memory of the same process, 5 s after it has handled that message.",
			Subjects: []rounds.Subject{{Name: idleName, Measure: up(binary, true)}},
			Targets:  []rounds.Target{{Name: "resident memory of an idle redrive up", Of: idleName, Metric: rounds.Mebibytes, Limit: 40}},
		},
	}
}

// kept builds the binary that all starts use, as it is released, and replaces the
// one of an earlier run.
func kept(ctx context.Context) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "redrive-bench")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	return build(ctx, dir, builds()[strippedName])
}
