package demo

import (
	"encoding/binary"
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

func openEffectLog(path string) (*effectLog, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
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
	held := 0
	for {
		n, err := r.Read(buffer[held:])
		held += n
		at := 0
		for held-at >= recordSize {
			if e, ok := decodeEffect(buffer[at:held]); ok {
				each(e)
				at += recordSize
				continue
			}
			at++
			skipped++
		}
		held = copy(buffer[:], buffer[at:held])
		if err == io.EOF { //nolint:errorlint // the contract of io.Reader
			return skipped + int64(held), nil
		}
		if err != nil {
			return skipped, fmt.Errorf("effect log: %w", err)
		}
	}
}
