package checker

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
)

// State is what a producer knows about a publication.
type State uint8

// The states. The zero value is a publication of which nothing was heard.
const (
	// Unknown: it may or may not be stored, so it is never counted as lost.
	Unknown State = iota
	// Confirmed: the broker said that it is stored.
	Confirmed
	// Refused: it is certainly not stored.
	Refused
)

// Publication is one message that a producer tried to publish.
type Publication struct {
	State  State
	Digest Digest
	// Repeats is how often the publication ended with an unknown outcome. A producer
	// that then tries again may have stored the message once more.
	Repeats int
}

// Books write down publications: each before the first byte is sent, and its end
// after it. It is not safe for concurrent use.
type Books struct {
	to *bufio.Writer
}

// NewBooks writes to w.
func NewBooks(w io.Writer) *Books { return &Books{to: bufio.NewWriter(w)} }

// Attempt notes that the message is about to be published. It counts only once
// Flush has returned nil.
func (b *Books) Attempt(id ID, d Digest) { b.line('a', id, hex.EncodeToString(d[:])) }

// End notes how the publication ended. A publication that is tried again ends
// again; the last end counts.
func (b *Books) End(id ID, s State) { b.line("iof"[s], id, "") }

func (b *Books) line(kind byte, id ID, rest string) {
	// A bufio.Writer keeps its first error and returns it from Flush.
	_, _ = fmt.Fprintf(b.to, "%c %s %s\n", kind, id, rest)
}

// Flush hands everything to the underlying writer. The error is the first of any
// write so far.
func (b *Books) Flush() error {
	if err := b.to.Flush(); err != nil {
		return fmt.Errorf("write the books: %w", err)
	}
	return nil
}

// ReadBooks reads what Books wrote. A last line without an end is passed over; it
// was not flushed when anything was sent.
func ReadBooks(from io.Reader) (map[ID]Publication, error) {
	out := map[ID]Publication{}
	r := bufio.NewReader(from)
	for n := 1; ; n++ {
		line, err := r.ReadString('\n')
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read the books: %w", err)
		}
		if err := enter(out, strings.Split(strings.TrimSuffix(line, "\n"), " ")); err != nil {
			return nil, fmt.Errorf("line %d of the books: %w", n, err)
		}
	}
}

func enter(books map[ID]Publication, fields []string) error {
	if len(fields) != 3 || len(fields[0]) != 1 {
		return errors.New("want three fields")
	}
	id, err := ParseID(fields[1])
	if err != nil {
		return err
	}
	p, known := books[id]
	if fields[0] == "a" {
		raw, err := hex.DecodeString(fields[2])
		if err != nil || len(raw) != len(p.Digest) {
			return fmt.Errorf("digest %q cannot be read", fields[2])
		}
		if known {
			return fmt.Errorf("message %s is published twice", id)
		}
		copy(p.Digest[:], raw)
		books[id] = p
		return nil
	}
	state := strings.Index("iof", fields[0])
	if state < 0 || !known {
		return fmt.Errorf("%q of message %s, which was not attempted or has no such end", fields[0], id)
	}
	p.State = State(state)
	if p.State == Unknown {
		p.Repeats++
	}
	books[id] = p
	return nil
}
