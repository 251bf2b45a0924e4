package records

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// MaxRecord is the size of the largest record in bytes, beyond what any broker
// takes as a message.
const MaxRecord = 64 << 20

// Record is one message of a file.
type Record struct {
	// Number counts the records from 1, invalid ones included.
	Number int
	// Offset is where it begins in the file, in bytes.
	Offset int64
	// Body are the bytes as they stand there.
	Body []byte
}

// InvalidError says that a record is malformed.
type InvalidError struct {
	// File is the name of the file.
	File string
	// Number and Offset say where it is, as in Record.
	Number int
	Offset int64
	// Err is what is wrong.
	Err error
	// Last says that nothing after it can be read: where the next record begins is
	// unknown.
	Last bool
}

// Error returns "file: record 3 (byte 120): what is wrong".
func (e *InvalidError) Error() string {
	return fmt.Sprintf("%s: record %d (byte %d): %v", e.File, e.Number, e.Offset, e.Err)
}

// Unwrap returns Err.
func (e *InvalidError) Unwrap() error { return e.Err }

// Reader reads the records of one file. It is not safe for concurrent use.
type Reader struct {
	name   string
	format Format
	number int
	next   func() (Record, error)
	ended  error
}

// NewReader returns a Reader of what r holds. The name is that of the file, for
// messages and to find out the format. Auto is replaced by the format that was
// found: it reads the beginning of the file for that.
func NewReader(r io.Reader, name string, format Format) (*Reader, error) {
	in := bufio.NewReaderSize(r, detectWindow)
	if format == Auto {
		var err error
		if format, err = detect(name, in); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	out := &Reader{name: name, format: format}
	switch format {
	case Array:
		out.next = out.elements(in)
	case NDJSON:
		out.next = out.lines(in)
	case Raw:
		out.next = out.whole(in)
	case Auto:
		return nil, fmt.Errorf("%s: the format was not found", name)
	default:
		return nil, fmt.Errorf("%s: unknown format %q", name, format)
	}
	return out, nil
}

// Format is the format that is read, never Auto.
func (r *Reader) Format() Format { return r.format }

// Next returns the next record, or io.EOF after the last one, or an
// *InvalidError. After one whose Last is not set, reading can go on.
func (r *Reader) Next() (Record, error) {
	if r.ended != nil {
		return Record{}, r.ended
	}
	record, err := r.next()
	var invalid *InvalidError
	if err != nil && (!errors.As(err, &invalid) || invalid.Last) {
		r.ended = err
	}
	return record, err
}

func (r *Reader) invalid(offset int64, last bool, format string, args ...any) error {
	return &InvalidError{File: r.name, Number: r.number, Offset: offset, Last: last, Err: fmt.Errorf(format, args...)}
}

func (r *Reader) failed(err error) error { return fmt.Errorf("read %s: %w", r.name, err) }

// skipMark takes a byte order mark away and returns its length.
func skipMark(in *bufio.Reader) int64 {
	head, err := in.Peek(len(byteOrderMark))
	if err != nil || string(head) != byteOrderMark {
		return 0
	}
	n, _ := in.Discard(len(byteOrderMark))
	return int64(n)
}

// lines reads NDJSON.
func (r *Reader) lines(in *bufio.Reader) func() (Record, error) {
	offset := skipMark(in)
	return func() (Record, error) {
		for {
			line, size, err := readLine(in)
			start := offset
			offset += size
			body := bytes.Trim(line, whitespace)
			switch {
			case err != nil && !errors.Is(err, io.EOF):
				return Record{}, r.failed(err)
			case len(body) == 0 && size <= MaxRecord:
				if err != nil {
					return Record{}, io.EOF
				}
				continue
			}
			r.number++
			if size > MaxRecord {
				return Record{}, r.invalid(start, false, "the line has %d bytes, the most is %d", size, MaxRecord)
			}
			start += int64(bytes.Index(line, body))
			if !json.Valid(body) {
				return Record{}, r.invalid(start, false, "the line is not one JSON value: %w", syntax(body))
			}
			return Record{Number: r.number, Offset: start, Body: body}, nil
		}
	}
}

// readLine returns a line with its end, in memory of its own. Of one that is too
// long only the beginning is kept; size is its true length.
func readLine(in *bufio.Reader) (line []byte, size int64, err error) {
	for {
		part, err := in.ReadSlice('\n')
		size += int64(len(part))
		if len(line) <= MaxRecord {
			line = append(line, part...)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, size, err
		}
	}
}

// syntax says what is wrong with text that is not JSON.
func syntax(body []byte) error {
	var ignored json.RawMessage
	if err := json.Unmarshal(body, &ignored); err != nil {
		return err
	}
	return errors.New("not JSON")
}

// errTooLong ends the reading of an element without end.
var errTooLong = fmt.Errorf("the element has more than %d bytes", MaxRecord)

// elements reads a JSON array.
func (r *Reader) elements(in *bufio.Reader) func() (Record, error) {
	mark := skipMark(in)
	meter := &meter{in: in, allowed: MaxRecord}
	decoder := json.NewDecoder(meter)
	decoder.UseNumber() // a number of any size is text here
	open := false
	broken := func(err error) error {
		var syntaxError *json.SyntaxError
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return r.invalid(mark+decoder.InputOffset(), true, "the file ends inside the array")
		case errors.As(err, &syntaxError), errors.Is(err, errTooLong):
			return r.invalid(mark+decoder.InputOffset(), true, "%w", err)
		}
		return r.failed(err)
	}
	return func() (Record, error) {
		if !open {
			r.number = 1
			first, err := decoder.Token()
			if err != nil {
				return Record{}, broken(err)
			}
			if first != json.Delim('[') {
				return Record{}, r.invalid(mark, true, "the file does not begin with an array")
			}
			open, r.number = true, 0
		}
		meter.allowed = decoder.InputOffset() + MaxRecord
		if decoder.More() {
			r.number++
			var body json.RawMessage
			if err := decoder.Decode(&body); err != nil {
				return Record{}, broken(err)
			}
			return Record{Number: r.number, Offset: mark + decoder.InputOffset() - int64(len(body)), Body: body}, nil
		}
		r.number++
		if _, err := decoder.Token(); err != nil {
			return Record{}, broken(err)
		}
		if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
			return Record{}, r.invalid(mark+decoder.InputOffset(), true, "there is something after the end of the array")
		}
		return Record{}, io.EOF
	}
}

// meter bounds how far a decoder reads ahead to find the end of one element. Its
// own buffer is at most as large again.
type meter struct {
	in            io.Reader
	read, allowed int64
}

// Read implements io.Reader.
func (m *meter) Read(p []byte) (int, error) {
	if m.read > m.allowed {
		return 0, errTooLong
	}
	n, err := m.in.Read(p)
	m.read += int64(n)
	return n, err
}

// whole reads a raw file. An empty one has no record.
func (r *Reader) whole(in *bufio.Reader) func() (Record, error) {
	return func() (Record, error) {
		body, err := io.ReadAll(io.LimitReader(in, MaxRecord+1))
		if err != nil {
			return Record{}, r.failed(err)
		}
		if len(body) == 0 {
			return Record{}, io.EOF
		}
		r.number++
		if len(body) > MaxRecord {
			return Record{}, r.invalid(0, true, "the file has more than %d bytes", MaxRecord)
		}
		return Record{Number: r.number, Body: body}, nil
	}
}
