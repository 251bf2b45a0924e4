package redrivekafka

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redrive-dev/redrive/broker"
)

// note is what stands beside a committed offset, in the metadata that Kafka keeps
// with it: which records beyond the offset are finished, how far earlier members that
// vanished had handed records out, and the marks of single records.
type note struct {
	// reached has, for each member that had the partition and never gave it up, the
	// offset below which it may have handed out records, the oldest member first. The
	// last one is that of the member which has the partition now, unless clean.
	reached []int64
	// clean says that the last member gave the partition up.
	clean bool
	// finished are the runs that are finished beyond the offset.
	finished []run
	// rows are the records with marks, in the order of their offsets.
	rows []row
}

// row is what is known of one record.
type row struct {
	offset int64
	// deliveries is the number of deliveries, and reached how many entries of
	// note.reached counted for the record when they were counted.
	deliveries, reached int
	// until is when the record may be delivered again, zero for at once.
	until time.Time
	mark  broker.Mark
	// envelope replaces the one that the record came with, nil for none.
	envelope []byte
}

const (
	// noteHead tells a note from metadata of others. The digit is its version.
	noteHead = "redrive1."
	// maxNote is what a broker takes by default, offset.metadata.max.bytes.
	maxNote = 4096
	// maxSpread is how far the newest record that is handed out may be beyond the
	// oldest unfinished one: what is finished among so many always fits in a note.
	maxSpread = 8192
	// maxReached bounds the members that vanished one after another: an older one is
	// forgotten.
	maxReached = 16
)

var errNote = errors.New("the metadata of the offset is not a note of redrive")

// encodeNote makes the metadata for an offset. What does not fit is left out: first
// envelopes, then pending moves, both of the last rows first, then whole rows. fits
// says that nothing was.
func encodeNote(position int64, n note) (metadata string, fits bool) {
	if len(n.reached) == 0 && len(n.finished) == 0 && len(n.rows) == 0 {
		return "", true
	}
	fixed := appendFixed(nil, position, n)
	const room = (maxNote - len(noteHead)) / 4 * 3
	raw := fixed
	for level := everything; level <= withoutPending; level++ {
		if raw = appendRows(fixed, position, n.rows, level); len(raw) <= room {
			return noteHead + base64.RawURLEncoding.EncodeToString(raw), level == everything
		}
	}
	for kept := len(n.rows) - 1; kept >= 0 && len(raw) > room; kept-- {
		raw = appendRows(fixed, position, n.rows[:kept], withoutPending)
	}
	return noteHead + base64.RawURLEncoding.EncodeToString(raw), false
}

func appendFixed(raw []byte, position int64, n note) []byte {
	flags := byte(0)
	if n.clean {
		flags = 1
	}
	raw = append(raw, flags)
	raw = binary.AppendUvarint(raw, uint64(len(n.reached)))
	for _, r := range n.reached {
		raw = binary.AppendUvarint(raw, uint64(max(r-position, 0)))
	}
	runs := appendRuns(nil, position, n.finished)
	bits := appendBits(nil, position, n.finished)
	if len(bits) < len(runs) {
		raw = append(raw, 1)
		raw = binary.AppendUvarint(raw, uint64(len(bits)))
		return append(raw, bits...)
	}
	raw = append(raw, 0)
	raw = binary.AppendUvarint(raw, uint64(len(n.finished)))
	return append(raw, runs...)
}

func appendRuns(raw []byte, position int64, runs []run) []byte {
	at := position
	for _, r := range runs {
		raw = binary.AppendUvarint(raw, uint64(r.from-at))
		raw = binary.AppendUvarint(raw, uint64(r.to-r.from))
		at = r.to
	}
	return raw
}

func appendBits(raw []byte, position int64, runs []run) []byte {
	if len(runs) == 0 {
		return raw
	}
	size := runs[len(runs)-1].to - position
	if size > 2*maxSpread {
		// Gaps of a compacted topic can make it long; runs are then the shorter form.
		size = 8 * maxNote
	}
	bits := make([]byte, (size+7)/8)
	for _, r := range runs {
		for o := r.from - position; o < r.to-position && o < size; o++ {
			bits[o/8] |= 1 << (o % 8)
		}
	}
	return append(raw, bits...)
}

// Levels of what is left out of rows.
const (
	everything = iota
	withoutEnvelopes
	withoutPending
)

func appendRows(fixed []byte, position int64, rows []row, level int) []byte {
	raw := binary.AppendUvarint(slices.Clip(fixed), uint64(len(rows)))
	for _, r := range rows {
		raw = appendRow(raw, position, r, level)
	}
	return raw
}

func appendRow(raw []byte, position int64, r row, level int) []byte {
	var rest struct {
		Mark     broker.Mark `json:"m,omitzero"`
		Envelope []byte      `json:"e,omitempty"`
	}
	rest.Mark, rest.Envelope = r.mark, r.envelope
	if level >= withoutEnvelopes {
		rest.Envelope = nil
	}
	if level >= withoutPending {
		rest.Mark.Pending = nil
	}
	var until uint64
	if !r.until.IsZero() {
		until = uint64(max(r.until.Add(time.Millisecond-time.Nanosecond).UnixMilli(), 1))
	}
	raw = binary.AppendUvarint(raw, uint64(r.offset-position))
	raw = binary.AppendUvarint(raw, uint64(r.deliveries))
	raw = binary.AppendUvarint(raw, uint64(r.reached))
	raw = binary.AppendUvarint(raw, until)
	var text []byte
	if !rest.Mark.IsZero() || rest.Envelope != nil {
		text, _ = json.Marshal(rest) // Numbers, text and times always marshal.
	}
	raw = binary.AppendUvarint(raw, uint64(len(text)))
	return append(raw, text...)
}

// decodeNote reads the metadata of an offset. Metadata of others is errNote.
func decodeNote(position int64, metadata string) (note, error) {
	if metadata == "" {
		return note{}, nil
	}
	text, ours := strings.CutPrefix(metadata, noteHead)
	if !ours {
		return note{}, errNote
	}
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return note{}, fmt.Errorf("%w: %w", errNote, err)
	}
	d := noteReader{raw: raw}
	n := note{clean: d.byte()&1 != 0}
	for range d.count(maxReached) {
		n.reached = append(n.reached, position+d.number())
	}
	if d.byte() == 1 {
		n.finished = bitRuns(position, d.bytes())
	} else {
		at := position
		for range d.count(maxSpread) {
			from := at + d.number()
			at = from + d.number()
			n.finished = append(n.finished, run{from, at})
		}
	}
	for range d.count(maxNote) {
		n.rows = append(n.rows, d.row(position))
	}
	if d.bad {
		return note{}, errNote
	}
	return n, nil
}

func bitRuns(position int64, bits []byte) []run {
	var out []run
	for i := range int64(len(bits)) * 8 {
		if bits[i/8]&(1<<(i%8)) == 0 {
			continue
		}
		o := position + i
		if last := len(out) - 1; last >= 0 && out[last].to == o {
			out[last].to++
		} else {
			out = append(out, run{o, o + 1})
		}
	}
	return out
}

// noteReader reads what encodeNote wrote, and notices what it did not write.
type noteReader struct {
	raw []byte
	bad bool
}

func (d *noteReader) byte() byte {
	if len(d.raw) == 0 {
		d.bad = true
		return 0
	}
	b := d.raw[0]
	d.raw = d.raw[1:]
	return b
}

func (d *noteReader) number() int64 {
	n, size := binary.Uvarint(d.raw)
	if size <= 0 || n > 1<<62 {
		d.bad = true
		return 0
	}
	d.raw = d.raw[size:]
	return int64(n)
}

func (d *noteReader) count(most int) int {
	n := d.number()
	if n > int64(most) {
		d.bad = true
	}
	if d.bad {
		return 0
	}
	return int(n)
}

func (d *noteReader) bytes() []byte {
	n := d.count(len(d.raw))
	if n > len(d.raw) {
		d.bad = true
		return nil
	}
	out := d.raw[:n]
	d.raw = d.raw[n:]
	return out
}

func (d *noteReader) row(position int64) row {
	r := row{offset: position + d.number(), deliveries: int(d.number()), reached: int(d.number())}
	if until := d.number(); until > 0 {
		r.until = time.UnixMilli(until)
	}
	text := d.bytes()
	if d.bad || len(text) == 0 {
		return r
	}
	var rest struct {
		Mark     broker.Mark `json:"m,omitzero"`
		Envelope []byte      `json:"e,omitempty"`
	}
	if json.Unmarshal(text, &rest) != nil {
		d.bad = true
	}
	r.mark, r.envelope = rest.Mark, rest.Envelope
	return r
}
