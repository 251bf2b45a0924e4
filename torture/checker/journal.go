package checker

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
)

// Kind says what a worker wrote down.
type Kind uint8

// The kinds of records.
const (
	// Started: the handler was called.
	Started Kind = iota + 1
	// Effect: the handler did its work. This record is the effect.
	Effect
	// Failed: the handler is about to return an error or to panic.
	Failed
	// Done, Retried, Lettered and Released: the broker confirmed to the worker that
	// the message was settled, moved to the retry queue, moved to a dead-letter
	// queue or quarantine, or given back.
	Done
	Retried
	Lettered
	Released
	// Redelivered: the broker delivered a copy that it had delivered before, and no
	// release explains that.
	Redelivered
	// LeaseLost: the worker learned that somebody else may have the message.
	LeaseLost
	// Alone: the worker is about to run a message alone, because it may have killed
	// a process.
	Alone
	kinds
)

// Flags say more about a record.
type Flags uint8

const (
	// Altered: body, headers or id were not those that were published.
	Altered Flags = 1 << iota
	// Uncounted: the run that ended cost no attempt.
	Uncounted
	// Outage: the handler failed because everything failed at this time.
	Outage
	allFlags = Altered | Uncounted | Outage
)

// Record is one line of a worker's journal.
type Record struct {
	ID    ID
	Kind  Kind
	Flags Flags
	// Attempt is the number of the attempt for Started, Effect and Failed, the number
	// of counted attempts so far for Retried and Lettered, and that of the deliveries
	// which nothing explains for Redelivered; at most 255.
	Attempt uint8
	// Key is the KeySum of the idempotency key that the handler saw, for Started.
	Key uint32
}

// RecordSize is the length of an encoded record in bytes.
const RecordSize = 16

var castagnoli = crc32.MakeTable(crc32.Castagnoli) //nolint:gochecknoglobals // a table, never written to

// Append appends the record's encoding. A record is made to be written in one
// call to a file that is open for appending: it is then in the file as a whole or
// not at all when the process is killed.
func (r Record) Append(to []byte) []byte {
	start := len(to)
	to = binary.BigEndian.AppendUint16(to, r.ID.Producer)
	to = binary.BigEndian.AppendUint32(to, r.ID.Counter)
	to = append(to, byte(r.Kind)|byte(r.Flags)<<4, r.Attempt)
	to = binary.BigEndian.AppendUint32(to, r.Key)
	return binary.BigEndian.AppendUint32(to, crc32.Checksum(to[start:], castagnoli))
}

func decodeRecord(b []byte) (Record, bool) {
	r := Record{
		ID:      ID{Producer: binary.BigEndian.Uint16(b), Counter: binary.BigEndian.Uint32(b[2:])},
		Kind:    Kind(b[6] & 15),
		Flags:   Flags(b[6] >> 4),
		Attempt: b[7],
		Key:     binary.BigEndian.Uint32(b[8:]),
	}
	sum := binary.BigEndian.Uint32(b[12:])
	ok := r.Kind > 0 && r.Kind < kinds && r.Flags&^allFlags == 0 && crc32.Checksum(b[:12], castagnoli) == sum
	return r, ok
}

// ReadJournal reads the records of one worker process. A record that is not whole
// at the end is what a kill may leave and is passed over; a damaged one anywhere
// else is an error, because a checker must not guess.
func ReadJournal(from io.Reader) ([]Record, error) {
	raw, err := io.ReadAll(from)
	if err != nil {
		return nil, fmt.Errorf("read the journal: %w", err)
	}
	out := make([]Record, 0, len(raw)/RecordSize)
	for at := 0; at+RecordSize <= len(raw); at += RecordSize {
		r, ok := decodeRecord(raw[at : at+RecordSize])
		if !ok && at+RecordSize == len(raw) {
			break
		}
		if !ok {
			return nil, fmt.Errorf("record %d of the journal is damaged", at/RecordSize)
		}
		out = append(out, r)
	}
	return out, nil
}
