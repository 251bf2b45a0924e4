package controller

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/envelope"
	"github.com/redrive-dev/redrive/failure"
	"github.com/redrive-dev/redrive/torture/checker"
	"github.com/redrive-dev/redrive/torture/scenario"
	"github.com/redrive-dev/redrive/torture/worker"
)

// judge collects what was written down and what lies in the queues, and asks the
// checker.
func (r *run) judge(ctx context.Context, drained bool) error {
	letters, err := r.letters(ctx)
	if err != nil {
		return err
	}
	publications, err := readBooks(r.books())
	if err != nil {
		return err
	}
	journals := make([][][]checker.Record, r.config.Groups)
	for group := range journals {
		if journals[group], err = readJournals(r.journals(group)); err != nil {
			return err
		}
	}
	if r.config.Inbox {
		effects, err := worker.ReadEffects(ctx, r.inbox())
		if err != nil {
			return err
		}
		// They are the effects of one group: nobody else has an inbox.
		journals[0] = append(journals[0], effects)
	}
	for group := range journals {
		h := r.history(publications, letters, group, drained)
		h.Journals = journals[group]
		h.Others = slices.Concat(slices.Concat(journals[:group]...), slices.Concat(journals[group+1:]...))
		result := checker.Check(h)
		if group == 0 {
			r.report.Result = result
		} else {
			r.report.Add(&result)
		}
	}
	r.report.Workers, r.report.Deaths = r.crew.started, r.crew.deaths
	if r.producer.trouble != nil {
		r.report.Trouble = r.producer.trouble.Error()
	}
	r.report.LastWords = r.crew.lastWords()
	return nil
}

// history is what there is to say about one group, but for what was written down.
func (r *run) history(publications map[checker.ID]checker.Publication, letters []checker.Letter, group int, drained bool) *checker.History {
	h := &checker.History{
		Publications: publications, Drained: drained,
		Kills: r.report.Kills, ServerKills: r.report.ServerKills, PowerCuts: r.report.PowerCuts, InFlight: worker.InFlight, Inbox: r.config.Inbox,
		Forgets: kindOf(r.config.Broker).forgets, KeepsRepeats: r.caps.DedupeWindow == 0, Uncounted: !r.caps.Marks || r.caps.Count < broker.CountExact || r.restarts() && kindOf(r.config.Broker).forgets,
		MaxAttempts: scenario.Attempts, CrashThreshold: worker.CrashThreshold, OutageCategory: failure.Transient.String(), Fate: r.scenario.Fate,
	}
	for i := range letters {
		if groupOf(r.allNames(), letters[i].Queue) == group {
			h.Letters = append(h.Letters, letters[i])
		}
	}
	if !drained && r.config.Groups > 1 {
		// What is left in the source cannot be told apart by group, so nothing can be
		// said to be lost.
		h.Publications = maps.Clone(publications)
		for id, p := range h.Publications {
			p.State = checker.Unknown
			h.Publications[id] = p
		}
	}
	return h
}

// groupOf returns the group that a queue belongs to, the first one for queues that
// belong to none.
func groupOf(all []broker.Names, queue string) int {
	for group, names := range all {
		if queue == names.Retry || strings.HasPrefix(queue, names.DeadLetter) {
			return group
		}
	}
	return 0
}

func readBooks(path string) (map[checker.ID]checker.Publication, error) {
	f, err := os.Open(path) //nolint:gosec // a file of our own
	if err != nil {
		return nil, fmt.Errorf("books: %w", err)
	}
	publications, err := checker.ReadBooks(f)
	return publications, errors.Join(err, f.Close())
}

// readJournals reads those of all workers.
func readJournals(dir string) ([][]checker.Record, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		return nil, fmt.Errorf("journals: %w", err)
	}
	out := make([][]checker.Record, 0, len(paths))
	for _, path := range paths {
		f, err := os.Open(path) //nolint:gosec // a file of our own
		if err != nil {
			return nil, fmt.Errorf("journals: %w", err)
		}
		records, err := checker.ReadJournal(f)
		if err = errors.Join(err, f.Close()); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		out = append(out, records)
	}
	return out, nil
}

// letters reads every queue, but for what a log keeps of messages that were settled.
func (r *run) letters(ctx context.Context) ([]checker.Letter, error) {
	l, ok := r.site.(log)
	if !ok {
		return readLetters(ctx, r.broker, r.allNames(), anyQueue)
	}
	pending, err := l.pending(ctx, r.allNames())
	if err != nil {
		return nil, err
	}
	letters, err := readLetters(ctx, r.broker, r.allNames(), func(queue string) bool { return place(queue) != checker.Pending })
	return append(pending, letters...), err
}

func anyQueue(string) bool { return true }

// readLetters reads every queue that the broker has, and those of the subscription
// even if it does not list them. The source comes first and the dead-letter queues
// last, the way that messages move.
func readLetters(ctx context.Context, b broker.Broker, all []broker.Names, read func(queue string) bool) ([]checker.Letter, error) {
	queues := []string{all[0].Source}
	for _, names := range all {
		queues = append(queues, names.Retry)
	}
	for _, names := range all {
		queues = append(queues, names.DeadLetter)
		for _, c := range failure.Categories() {
			queues = append(queues, names.Quarantine(c))
		}
	}
	listed, err := b.Topology().Queues(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the queues: %w", err)
	}
	for _, q := range listed {
		if !strings.HasPrefix(q.Name, all[0].Source) {
			continue // of another run
		}
		if !slices.Contains(queues, q.Name) {
			queues = append(queues, q.Name)
		}
	}
	var out []checker.Letter
	for _, queue := range queues {
		if !read(queue) {
			continue
		}
		found, err := readQueue(ctx, b, queue)
		if errors.Is(err, broker.ErrUnsupported) && broker.KindOf(queue) == broker.KindRetry {
			continue // Retries lie in the source.
		}
		if err != nil {
			return nil, fmt.Errorf("look into %s: %w", queue, err)
		}
		out = append(out, found...)
	}
	return out, nil
}

// readQueue reads a queue without an effect, and takes everything out of one that
// cannot be read so: nobody needs it any more.
func readQueue(ctx context.Context, b broker.Broker, queue string) ([]checker.Letter, error) {
	const page = 500
	in, err := b.Letters(ctx, queue)
	if err != nil {
		return nil, err
	}
	var out []checker.Letter
	if in.Mode() != broker.Observe {
		err := in.Drain(ctx, page, func(_ context.Context, found []broker.Letter) error {
			for i := range found {
				out = append(out, letter(queue, &found[i].Message))
			}
			return nil
		})
		return out, err
	}
	for cursor := broker.Cursor(""); ; {
		found, next, err := in.Scan(ctx, cursor, page)
		if err != nil {
			return nil, err
		}
		for i := range found {
			out = append(out, letter(queue, &found[i].Message))
		}
		if len(found) < page {
			return out, nil
		}
		cursor = next
	}
}

// letter is what the checker wants to know of a message in a queue.
func letter(queue string, m *broker.Message) checker.Letter {
	l := checker.Letter{Queue: queue, Place: place(queue), Digest: scenario.Sum(m.Body, m.Headers)}
	id, err := scenario.ID(m.Body, m.Headers)
	l.ID, l.Readable = id, err == nil
	e, err := envelope.Decode(m.Envelope)
	if err != nil {
		return l
	}
	l.Reason, l.Category, l.Count = string(e.Reason), e.Category.String(), e.Count
	l.CrashLoop = e.Reason == envelope.ReasonCrashLoop
	l.Trimmed = slices.Contains(e.Trimmed, envelope.TrimmedHistory) || e.Count+e.Uncounted > len(e.Attempts)
	for _, a := range e.Attempts {
		if a.Uncounted == "" {
			l.Listed++
		}
	}
	if e.Key != "" {
		l.Key = checker.KeySum(e.Key)
	}
	if e.Reason == envelope.ReasonExpired && l.Place == checker.DeadLettered {
		l.Place = checker.Expired
	}
	return l
}

func place(queue string) checker.Place {
	switch broker.KindOf(queue) {
	case broker.KindDeadLetter:
		return checker.DeadLettered
	case broker.KindQuarantine:
		return checker.Quarantined
	case broker.KindSource, broker.KindRetry, broker.KindReplay, broker.KindOutcomes, broker.KindHeartbeats:
	}
	return checker.Pending
}
