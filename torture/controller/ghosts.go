package controller

import (
	"context"
	"slices"

	"github.com/redrive-dev/redrive/torture/checker"
	"github.com/redrive-dev/redrive/torture/scenario"
	"github.com/redrive-dev/redrive/torture/worker"
)

// onlyGhosts tells whether everything that is left was handled, or is a letter. A
// broker that was killed can know that a message was acknowledged, or that its time
// had come, and not that it was removed for that: it keeps the message and gives it
// to nobody.
func (r *run) onlyGhosts(ctx context.Context) (bool, error) {
	records, err := r.written(ctx)
	if err != nil {
		return false, err
	}
	letters, err := r.letters(ctx)
	if err != nil {
		// The broker may be busy; there is another census.
		r.say("%v\n", err)
		return false, nil
	}
	return handled(records, letters), nil
}

// unended counts the messages, but for those that go along, that were confirmed, had no effect yet, and of which no
// worker has made a letter: for brokers that do not tell how many they have.
func (r *run) unended(ctx context.Context) (int64, error) {
	records, err := r.written(ctx)
	if err != nil {
		return 0, err
	}
	publications, err := readBooks(r.books())
	if err != nil {
		return 0, err
	}
	ended, n := endedBy(records, checker.Effect, checker.Lettered), int64(0)
	for id, p := range publications {
		if p.State == checker.Confirmed && !ended[id] && id.Producer != scenario.Beacon {
			n++
		}
	}
	return n, nil
}

// written reads what the workers have written down until now.
func (r *run) written(ctx context.Context) ([][]checker.Record, error) {
	var records [][]checker.Record
	for group := range r.config.Groups {
		journals, err := readJournals(r.journals(group))
		if err != nil {
			return nil, err
		}
		records = append(records, journals...)
	}
	if !r.config.Inbox {
		return records, nil
	}
	effects, err := worker.ReadEffects(ctx, r.inbox())
	return append(records, effects), err
}

func endedBy(journals [][]checker.Record, kinds ...checker.Kind) map[checker.ID]bool {
	ended := map[checker.ID]bool{}
	for _, records := range journals {
		for _, r := range records {
			if slices.Contains(kinds, r.Kind) {
				ended[r.ID] = true
			}
		}
	}
	return ended
}

// handled tells whether every message that is pending had its effect or is a letter.
func handled(journals [][]checker.Record, letters []checker.Letter) bool {
	ended := endedBy(journals, checker.Effect)
	for i := range letters {
		if letters[i].Place != checker.Pending {
			ended[letters[i].ID] = true
		}
	}
	for i := range letters {
		if !ended[letters[i].ID] {
			return false
		}
	}
	return true
}
