package demo

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/redrive-dev/redrive/failure"
)

// tail reads what is added to a file.
type tail struct {
	path string
	at   int64
	rest []byte
}

// next returns what is new and was finished.
func (t *tail) next(unit func([]byte) int) ([]byte, error) {
	f, err := os.Open(t.path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // nothing was written
	read, err := io.ReadAll(io.NewSectionReader(f, t.at, 1<<62))
	if err != nil {
		return nil, err
	}
	t.at += int64(len(read))
	all := append(t.rest, read...)
	n := unit(all)
	t.rest = append([]byte(nil), all[n:]...)
	return all[:n], nil
}

func wholeLines(b []byte) int { return bytes.LastIndexByte(b, '\n') + 1 }

func wholeRecords(b []byte) int { return len(b) - len(b)%recordSize }

// watcher puts together what the view shows.
type watcher struct {
	options    Options
	outages    outages
	publisher  *publisher
	supervisor *supervisor
	gauge      *gauge
	events     tail
	effects    tail
	lines      timeline
	// told gets every new line of the timeline.
	told func(Entry)

	handled  int64
	in, out  perSecond
	lastDone int64
	wasDown  bool
}

func newWatcher(dir string, o Options, out outages, p *publisher, s *supervisor, g *gauge) *watcher {
	return &watcher{
		options: o, outages: out, publisher: p, supervisor: s, gauge: g,
		events: tail{path: filepath.Join(dir, eventsFile)}, effects: tail{path: filepath.Join(dir, effectsFile)},
	}
}

// look reads what is new and returns what to show.
func (w *watcher) look(now time.Time) (Frame, error) {
	elapsed := now.Sub(w.outages.Start)
	if err := w.count(elapsed); err != nil {
		return Frame{}, err
	}
	if err := w.tell(now); err != nil {
		return Frame{}, err
	}
	t, d := w.supervisor.tally(), w.gauge.depths()
	n := w.gauge.names
	f := Frame{
		Elapsed: elapsed, Seed: w.options.Seed, Mutant: w.options.Mutant,
		Published: int(w.publisher.done.Load()), Handled: w.handled, Retries: t.retries,
		In: w.in.last(), Out: w.out.last(), History: slices.Clone(w.out.over()),
		Breaker: t.status.Breaker, Worker: t.pid, Running: t.status.Running, Concurrency: w.options.Concurrency,
		Waiting: t.status.Waiting, Suspects: t.status.Suspects, Deaths: t.deaths, Kills: t.slain,
		Source: d[n.Source], Retry: d[n.Retry], DeadLetters: d[n.DeadLetter],
		QuarantinedTransient: d[n.Quarantine(failure.Transient)], QuarantinedCrashed: d[n.Quarantine(failure.Crash)],
		QuarantinedOther: d[n.Quarantine(failure.Schema)] + d[n.Quarantine(failure.Business)] + d[n.Quarantine(failure.Integration)],
		Timeline:         slices.Clone(w.lines.entries),
	}
	if w.options.Once {
		f.Total = w.options.Messages
	}
	if !t.status.ProbeDue.IsZero() {
		f.ProbeIn = max(t.status.ProbeDue.Sub(now), 0)
	}
	if until, down := w.outages.down(now); down {
		f.Down, f.DownFor = true, until.Sub(now)
	}
	return f, nil
}

// count reads the effect log and the publisher.
func (w *watcher) count(elapsed time.Duration) error {
	raw, err := w.effects.next(wholeRecords)
	if err != nil {
		return fmt.Errorf("effect log: %w", err)
	}
	n := 0
	if _, err := readEffects(bytes.NewReader(raw), func(Effect) { n++ }); err != nil {
		return err
	}
	w.handled += int64(n)
	done := w.publisher.done.Load()
	w.out.add(elapsed, n)
	w.in.add(elapsed, int(done-w.lastDone))
	w.lastDone = done
	return nil
}

// perSecond counts in slots of a second. The newest slot is not over yet.
type perSecond struct {
	second int
	slots  []int
}

// maxHistory bounds the seconds that are kept for the graph.
const maxHistory = 300

func (p *perSecond) add(elapsed time.Duration, n int) {
	second := int(elapsed.Seconds())
	if len(p.slots) == 0 {
		p.slots, p.second = []int{0}, second
	}
	for range min(second-p.second, maxHistory) {
		p.slots = append(p.slots, 0)
	}
	p.second = max(p.second, second)
	p.slots = p.slots[max(0, len(p.slots)-maxHistory):]
	p.slots[len(p.slots)-1] += n
}

// over are the seconds that are over.
func (p *perSecond) over() []int { return p.slots[:max(0, len(p.slots)-1)] }

// last is the newest second that is over.
func (p *perSecond) last() int {
	over := p.over()
	if len(over) == 0 {
		return 0
	}
	return over[len(over)-1]
}

// tell reads the events.
func (w *watcher) tell(now time.Time) error {
	raw, err := w.events.next(wholeLines)
	if err != nil {
		return fmt.Errorf("events: %w", err)
	}
	for line := range bytes.Lines(raw) {
		var e event
		if json.Unmarshal(line, &e) == nil {
			w.add(e)
		}
	}
	_, down := w.outages.down(now)
	switch {
	case down && !w.wasDown:
		w.add(event{At: now, Kind: eventOutage, Text: "the downstream goes down for " + seconds(w.outages.Length)})
	case !down && w.wasDown:
		w.add(event{At: now, Kind: eventOutageEnded})
	}
	w.wasDown = down
	return nil
}

func (w *watcher) add(e event) {
	entry, ok := e.entry(w.outages.Start)
	if ok && w.lines.add(entry) && w.told != nil {
		w.told(entry)
	}
}
