package demo

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
)

// recordSize is the size of an effect on disk: the id of the order, the attempt
// with a flag, and a checksum of both, little endian.
const recordSize = 16

// failedBefore is the flag of an order that failed before it took effect.
const failedBefore = 1 << 31

// Effect says that an order took effect.
type Effect struct {
	ID uint64
	// Attempt is the number of the attempt that did it, from 1.
	Attempt uint32
	// FailedBefore says that an earlier run failed, whether it cost an attempt or
	// not.
	FailedBefore bool
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli) //nolint:gochecknoglobals // a table, never written to

func (e Effect) encode() (out [recordSize]byte) {
	attempt := e.Attempt &^ failedBefore
	if e.FailedBefore {
		attempt |= failedBefore
	}
	binary.LittleEndian.PutUint64(out[0:], e.ID)
	binary.LittleEndian.PutUint32(out[8:], attempt)
	binary.LittleEndian.PutUint32(out[12:], crc32.Checksum(out[:12], castagnoli))
	return out
}

func decodeEffect(raw []byte) (Effect, bool) {
	if len(raw) < recordSize || binary.LittleEndian.Uint32(raw[12:]) != crc32.Checksum(raw[:12], castagnoli) {
		return Effect{}, false
	}
	attempt := binary.LittleEndian.Uint32(raw[8:])
	return Effect{
		ID: binary.LittleEndian.Uint64(raw), Attempt: attempt &^ failedBefore, FailedBefore: attempt&failedBefore != 0,
	}, true
}

// effectLog is a file of effects that only grows. Each effect is one write to
// a file opened for appending: once it returned, a killed process cannot take it
// back. It is safe for concurrent use.
type effectLog struct{ f *os.File }

func openEffectLog(dir, name string) (*effectLog, error) {
	f, err := appendTo(dir, name)
	if err != nil {
		return nil, fmt.Errorf("effect log: %w", err)
	}
	return &effectLog{f}, nil
}

// add appends an effect.
func (l *effectLog) add(e Effect) error {
	raw := e.encode()
	if _, err := l.f.Write(raw[:]); err != nil {
		return fmt.Errorf("effect log: %w", err)
	}
	return nil
}

func (l *effectLog) close() error { return l.f.Close() }

// readEffects calls each for every effect of a log. A record that was torn by a
// full disk or a failing machine is passed over, and reading goes on at the next
// byte that begins a whole one; skipped is the number of bytes that belong to
// none.
func readEffects(r io.Reader, each func(Effect)) (skipped int64, err error) {
	var buffer [64 << 10]byte
	scan := effectScan{each: each}
	for held := 0; ; {
		n, err := r.Read(buffer[held:])
		held += n
		end := errors.Is(err, io.EOF)
		if err != nil && !end {
			return scan.skipped, fmt.Errorf("effect log: %w", err)
		}
		used := scan.scan(buffer[:held], end)
		held = copy(buffer[:], buffer[used:held])
		if end {
			return scan.skipped, nil
		}
	}
}

// effectScan finds records in bytes.
type effectScan struct {
	each    func(Effect)
	skipped int64
	// inside is the number of bytes ahead that belong to a record that was found.
	inside int
}

// scan reads records and returns the number of bytes that it is done with. Until
// the last bytes it leaves two records' length, since a record is judged by what
// follows it: a torn one can be made whole by the first byte of the next, which
// then begins inside of it.
func (s *effectScan) scan(raw []byte, last bool) (at int) {
	for len(raw)-at >= 2*recordSize || last && at < len(raw) {
		e, ok := decodeEffect(raw[at:])
		if !ok {
			s.step(1)
			at++
			continue
		}
		s.each(e)
		s.inside = recordSize
		step := 1
		if rest := raw[at+recordSize:]; len(rest) == 0 {
			step = recordSize
		} else if _, ok := decodeEffect(rest); ok {
			step = recordSize
		}
		s.step(step)
		at += step
	}
	return at
}

func (s *effectScan) step(n int) {
	s.skipped += int64(max(0, n-s.inside))
	s.inside = max(0, s.inside-n)
}
