package redrivekafka

// book keeps account of one partition: which records have been seen and which of
// them are finished. Kafka knows one number for a partition, the offset up to which
// everything is finished; what is finished beyond it the note beside that number
// tells, see note.
type book struct {
	// next is the offset after the newest record that was seen.
	next int64
	// slots are the records from the first unfinished one on, in the order of their
	// offsets, which may have gaps. first is the number of the slot at head.
	slots []slot
	head  int
	first uint64
	// before are the runs that an earlier member finished beyond its position.
	before []run
	// open is the number of slots that are not finished.
	open int
}

type slot struct {
	offset   int64
	finished bool
}

// run is a range of offsets, end excluded.
type run struct{ from, to int64 }

// newBook starts at a committed position, with what its note says is finished.
func newBook(position int64, finished []run) *book {
	return &book{next: position, before: finished}
}

// add takes the next record into account and returns the number of its slot. fresh is
// false for a record that is finished already, or was seen before.
func (b *book) add(offset int64) (number uint64, fresh bool) {
	if offset < b.next {
		return 0, false
	}
	b.next = offset + 1
	for len(b.before) > 0 && b.before[0].to <= offset {
		b.before = b.before[1:]
	}
	finished := len(b.before) > 0 && b.before[0].from <= offset
	if finished {
		b.before[0].from = offset + 1 // What is left of the run, perhaps nothing.
	}
	if finished && b.head == len(b.slots) {
		return 0, false // Everything before is finished: the position is next.
	}
	b.compact()
	b.slots = append(b.slots, slot{offset: offset, finished: finished})
	if !finished {
		b.open++
	}
	return b.first + uint64(len(b.slots)-b.head-1), !finished
}

// compact gives back the room of finished slots when it is half of all.
func (b *book) compact() {
	if b.head < 1024 || b.head < len(b.slots)/2 {
		return
	}
	n := copy(b.slots, b.slots[b.head:])
	b.slots = b.slots[:n]
	b.head = 0
}

// finish ends a record. It reports false if it was finished before.
func (b *book) finish(number uint64) bool {
	if number < b.first || number-b.first >= uint64(len(b.slots)-b.head) {
		return false
	}
	s := &b.slots[b.head+int(number-b.first)]
	if s.finished {
		return false
	}
	s.finished = true
	b.open--
	for b.head < len(b.slots) && b.slots[b.head].finished {
		b.head++
		b.first++
	}
	if b.head == len(b.slots) {
		b.slots, b.head = b.slots[:0], 0
	}
	return true
}

// position is the offset to commit: everything below it is finished.
func (b *book) position() int64 {
	if b.head < len(b.slots) {
		return b.slots[b.head].offset
	}
	return b.next
}

// finished lists what is finished beyond the position, in order. Offsets that
// nobody will ever see, between two records, belong to the run around them.
func (b *book) finished() []run {
	var out []run
	last := -1 // the slot that the newest run ends with
	for i := b.head; i < len(b.slots); i++ {
		s := b.slots[i]
		switch {
		case !s.finished:
		case last >= 0 && last == i-1:
			out[len(out)-1].to = s.offset + 1
			last = i
		default:
			out = append(out, run{s.offset, s.offset + 1})
			last = i
		}
	}
	for _, r := range b.before {
		if r.from < r.to {
			out = append(out, r)
		}
	}
	return out
}
