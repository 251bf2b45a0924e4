package redrivekafka

import (
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/redrive-dev/redrive/broker"
)

// record is a stored message of a partition that this process has. The lock of its
// subscription guards it.
type record struct {
	p       *partition
	offset  int64
	number  uint64 // of its slot in the partition's book
	message broker.Message
	size    int
	// due is when it may be handed out.
	due time.Time
	// deliveries is the number of deliveries so far, by earlier members too as far as
	// their notes tell.
	deliveries int
	mark       broker.Mark
	// envelope is that of a retry which waits in its place, nil for none.
	envelope []byte
	// current is who holds it, or held it last.
	current  *delivery
	finished bool
	// waits says that it lies in the heap of those that are not due.
	waits bool
	// first says that it is the one of its key that may be handed out, where order is
	// kept.
	first bool
}

// partition is one that this member has. The lock of its subscription guards it.
type partition struct {
	lane  *lane
	topic string
	id    int32
	info  topicInfo

	// start is the committed offset, -1 if there is none, and note what stood beside
	// it. book is nil until the first offset is known.
	start int64
	note  note
	book  *book
	rows  map[int64]row // of the note, for records that have not been seen yet

	// ready are the records that are due and have not been handed out, in order.
	ready []*record
	// known are all records that are not finished and have been seen.
	known map[int64]*record
	bytes int
	// noted are the records with rows.
	noted map[*record]struct{}
	// lines are the keys of which a record is handed out or waits, with the later
	// records of each. Only where order is kept.
	lines map[string][]*record

	// reach is the offset below which records may be handed out once the group knows,
	// and granted the one that it knows.
	reach, granted int64
	// out is the number of records that are handed out and not settled.
	out int
	// sequence counts what has changed, and confirmed is the newest that the group
	// knows.
	sequence, confirmed uint64
	// fault is why the group refuses to know of the change faultAt.
	fault   error
	faultAt uint64
	// leaving says that it is about to be given up: nothing more is handed out. clean
	// says that nothing is handed out any more, gone that it is another member's.
	leaving, clean, gone bool
	// limbo says that this client was cut off from the group, which may have given the
	// partition to another member, or not: nothing is handed out until that is known.
	limbo  bool
	paused bool
	// sent are the commits that may be what the group knows: the last one that was
	// confirmed, and those after it.
	sent []sentCommit
}

// sentCommit is an offset with its note.
type sentCommit struct {
	position int64
	metadata string
}

// send remembers a commit that is about to be sent.
func (p *partition) send(c sentCommit) {
	const most = 16
	if slices.Contains(p.sent, c) {
		return
	}
	if len(p.sent) == most {
		p.sent = slices.Delete(p.sent, 1, 2) // The first one is what was confirmed.
	}
	p.sent = append(p.sent, c)
}

// untouched says whether what the group knows was told by this member. Another
// member that had the partition meanwhile would have told how far it hands out
// records, before it did.
func (p *partition) untouched(position int64, metadata string) bool {
	return p.book != nil && slices.Contains(p.sent, sentCommit{position, metadata})
}

// begin makes the book when the first offset is known.
func (p *partition) begin(offset int64) {
	if p.book != nil {
		return
	}
	position := p.start
	if position < 0 {
		position = offset
	}
	p.book = newBook(position, p.note.finished)
	p.reach, p.granted = position, position
}

// crashes is the number of earlier members that vanished and may have handed out the
// record at the offset.
func (p *partition) crashes(offset int64) int {
	n := 0
	for _, reached := range p.note.reached {
		if offset < reached {
			n++
		}
	}
	return n
}

// touch says that something has changed which the group has to know, and returns its
// number.
func (p *partition) touch() uint64 {
	p.sequence++
	p.lane.dirty[p] = struct{}{}
	return p.sequence
}

// see takes a fetched record into account, nil if it is finished.
func (p *partition) see(kr *kgo.Record) *record {
	p.begin(kr.Offset)
	number, fresh := p.book.add(kr.Offset)
	if !fresh {
		return nil
	}
	d := decode(kr, p.lane.retries)
	r := &record{p: p, offset: kr.Offset, number: number, message: d.message, due: d.due, size: recordSize(kr)}
	r.deliveries = p.crashes(kr.Offset)
	if row, ok := p.rows[kr.Offset]; ok {
		delete(p.rows, kr.Offset)
		r.deliveries = row.deliveries + max(r.deliveries-row.reached, 0)
		r.mark, r.envelope = row.mark, row.envelope
		if r.envelope != nil {
			r.message.Envelope = r.envelope
		}
		if row.until.After(r.due) {
			r.due = row.until
		}
	}
	p.known[kr.Offset] = r
	p.bytes += r.size
	p.lane.s.bytes += r.size
	return r
}

// finish takes a record out of the partition. What waits for its key goes on.
func (p *partition) finish(r *record) {
	if r.finished {
		return
	}
	r.finished = true
	p.book.finish(r.number)
	p.remember(r)
	p.drop(r)
	if p.lines == nil || r.message.Key == nil {
		return
	}
	key := string(r.message.Key)
	line, ok := p.lines[key]
	switch {
	case !ok:
	case len(line) == 0:
		delete(p.lines, key)
	default:
		p.lines[key] = line[1:]
		line[0].first = true
		p.lane.s.again = append(p.lane.s.again, line[0])
	}
}

// lead makes a record the one of its key that may be handed out. It reports false if
// another one is, behind which it is in line.
func (p *partition) lead(r *record) bool {
	if p.lines == nil || r.message.Key == nil || r.first {
		return true
	}
	key := string(r.message.Key)
	line, busy := p.lines[key]
	if busy {
		p.lines[key] = append(line, r)
		return false
	}
	p.lines[key] = nil
	r.first = true
	return true
}

func (p *partition) drop(r *record) {
	if _, ok := p.known[r.offset]; ok {
		delete(p.known, r.offset)
		p.bytes -= r.size
		p.lane.s.bytes -= r.size
	}
}

// snapshot is what the group is told of a partition.
type snapshot struct {
	p        *partition
	position int64
	metadata string
	sequence uint64
	reach    int64
}

func (p *partition) snapshot() snapshot {
	n, position := p.current()
	metadata, _ := encodeNote(position, n)
	return snapshot{p: p, position: position, metadata: metadata, sequence: p.sequence, reach: p.reach}
}

// current is the note of the partition as it is, and the offset it stands beside.
func (p *partition) current() (note, int64) {
	position := p.book.position()
	n := note{clean: p.clean, finished: p.book.finished()}
	for _, reached := range p.note.reached {
		if reached > position {
			n.reached = append(n.reached, reached)
		}
	}
	p.note.reached = n.reached
	if !p.clean && p.reach > position {
		n.reached = append(slices.Clip(n.reached), p.reach)
	}
	if extra := len(n.reached) - maxReached; extra > 0 {
		n.reached = n.reached[extra:]
	}
	n.rows = p.currentRows(position)
	return n, position
}
