package redrivetest

import (
	"context"
	"sync"

	"github.com/redrive-dev/redrive/broker"
)

// Marks is a [broker.MarkStore] in memory, for tests of adapters and workers. It
// outlives the clients that use it and not the process. The zero value is empty and
// ready. It is safe for concurrent use.
type Marks struct {
	mu    sync.Mutex
	marks map[string]broker.Mark
}

var _ broker.MarkStore = (*Marks)(nil)

// LoadMark implements [broker.MarkStore].
func (m *Marks) LoadMark(ctx context.Context, id string) (broker.Mark, error) {
	if err := ctx.Err(); err != nil {
		return broker.Mark{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return cloneMark(m.marks[id]), nil
}

// StoreMark implements [broker.MarkStore].
func (m *Marks) StoreMark(ctx context.Context, id string, mark broker.Mark) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.marks == nil {
		m.marks = map[string]broker.Mark{}
	}
	m.marks[id] = cloneMark(mark)
	return nil
}

// DeleteMark implements [broker.MarkStore].
func (m *Marks) DeleteMark(ctx context.Context, id string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.marks, id)
	return nil
}

// Len returns how many marks there are: none are left when everything is settled.
func (m *Marks) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.marks)
}
