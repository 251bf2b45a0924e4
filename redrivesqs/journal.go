package redrivesqs

import (
	"context"
	"strconv"
	"sync"
	"time"

	"github.com/redrive-dev/redrive/broker"
)

// journal keeps what SQS cannot attach to a message: notes, and for messages of FIFO
// queues, which wait for their retry in their place, the retry itself.
//
// A retry is kept as a mark under a name of its own: Pending is the retry, Explained
// the receives that came before it, and StartedAlone its ordinal.
type journal struct {
	marks broker.MarkStore
	// durable says that the store is one that the user configured.
	durable bool
}

func newJournal(store broker.MarkStore) journal {
	if store != nil {
		return journal{store, true}
	}
	return journal{&memory{}, false}
}

// waiting is a retry that waits in its place.
type waiting struct {
	// ordinal numbers the retries of a message: each is a stored copy of its own, as
	// far as anybody can tell.
	ordinal int
	// receives is the number of receives up to and including the one that retried.
	receives  int
	due       time.Time
	envelope  []byte
	publishID string
}

func markID(queue, messageID string, ordinal int) string {
	id := "sqs/" + queue + "/" + messageID
	if ordinal > 0 {
		id += "#" + strconv.Itoa(ordinal)
	}
	return id
}

func retryID(queue, messageID string) string { return "sqs/" + queue + "/" + messageID + "#retry" }

// loadRetry returns the retry that waits, false if there is none.
func (j journal) loadRetry(ctx context.Context, id string) (waiting, bool, error) {
	m, err := j.marks.LoadMark(ctx, id)
	if err != nil || m.Pending == nil {
		return waiting{}, false, err
	}
	p := m.Pending
	return waiting{m.StartedAlone, m.Explained, p.At, p.Envelope, p.PublishID}, true, nil
}

func (j journal) storeRetry(ctx context.Context, id string, w waiting) error {
	return j.marks.StoreMark(ctx, id, broker.Mark{
		Explained: w.receives, StartedAlone: w.ordinal,
		Pending: &broker.Pending{Retry: true, At: w.due, Envelope: w.envelope, PublishID: w.publishID},
	})
}

// memory keeps marks in this process, the newest ones.
type memory struct {
	mu    sync.Mutex
	marks map[string]broker.Mark
	order []string
}

// maxMemory is more than the messages of one process that wait at the same time.
const maxMemory = 20_000

// LoadMark implements broker.MarkStore.
func (m *memory) LoadMark(_ context.Context, id string) (broker.Mark, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.marks[id], nil
}

// StoreMark implements broker.MarkStore.
func (m *memory) StoreMark(_ context.Context, id string, mark broker.Mark) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.marks == nil {
		m.marks = map[string]broker.Mark{}
	}
	if _, known := m.marks[id]; !known {
		m.order = append(m.order, id)
	}
	m.marks[id] = mark
	for len(m.order) > maxMemory {
		delete(m.marks, m.order[0])
		m.order = m.order[1:]
	}
	return nil
}

// DeleteMark implements broker.MarkStore.
func (m *memory) DeleteMark(_ context.Context, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.marks, id)
	return nil
}
