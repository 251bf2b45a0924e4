package controller

import (
	"context"

	"github.com/redrive-dev/redrive/torture/checker"
	"github.com/redrive-dev/redrive/torture/worker"
)

// onlyGhosts tells whether everything that is left was handled, or is a letter. A
// broker that was killed can know that a message was acknowledged, or that its time
// had come, and not that it was removed for that: it keeps the message and gives it
// to nobody.
func (r *run) onlyGhosts(ctx context.Context) (bool, error) {
	var records [][]checker.Record
	for group := range r.config.Groups {
		journals, err := readJournals(r.journals(group))
		if err != nil {
			return false, err
		}
		records = append(records, journals...)
	}
	if r.config.Inbox {
		effects, err := worker.ReadEffects(ctx, r.inbox())
		if err != nil {
			return false, err
		}
		records = append(records, effects)
	}
	letters, err := r.letters(ctx)
	if err != nil {
		// The broker may be busy; there is another census.
		r.say("%v\n", err)
		return false, nil
	}
	return handled(records, letters), nil
}

// handled tells whether every message that is pending had its effect or is a letter.
func handled(journals [][]checker.Record, letters []checker.Letter) bool {
	ended := map[checker.ID]bool{}
	for _, records := range journals {
		for _, r := range records {
			if r.Kind == checker.Effect {
				ended[r.ID] = true
			}
		}
	}
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
