package broker

import "context"

// MarkStore keeps the notes of [Delivery.Mark] for brokers that cannot attach a
// note to a stored message. A stored copy is named by a string that the adapter
// makes. Implementations are safe for concurrent use, and what they were given is
// durable when they return nil.
type MarkStore interface {
	// LoadMark returns the newest mark of a copy, the zero Mark if there is none.
	LoadMark(ctx context.Context, id string) (Mark, error)
	// StoreMark replaces the mark of a copy.
	StoreMark(ctx context.Context, id string, mark Mark) error
	// DeleteMark forgets the mark of a copy. It is no error if there is none. An
	// adapter calls it when the copy is settled; a crash in between leaves a mark
	// that nobody asks for again, which a store may forget after 30 days.
	DeleteMark(ctx context.Context, id string) error
}
