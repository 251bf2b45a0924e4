package demo

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
)

// Digest is the SHA-256 of a body.
type Digest [sha256.Size]byte

// intentSize is the size of one line of the ledger: the id of an order, the
// digest of its body and a checksum.
const intentSize = 8 + sha256.Size + 4

// ledger is the list of what is published, written ahead: an order is in it
// before its first byte is sent, and in the list of the confirmed ones after the
// broker said that it is stored.
type ledger struct {
	intents   *os.File
	confirmed *effectLog
}

func openLedger(dir string) (*ledger, error) {
	f, err := appendTo(dir, ledgerFile)
	if err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	confirmed, err := openEffectLog(dir, confirmedFile)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &ledger{f, confirmed}, nil
}

// intend writes down orders that are about to be published.
func (l *ledger) intend(ids []uint64, bodies [][]byte) error {
	out := make([]byte, 0, len(ids)*intentSize)
	for i, id := range ids {
		out = appendIntent(out, id, sha256.Sum256(bodies[i]))
	}
	if _, err := l.intents.Write(out); err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	return nil
}

func appendIntent(out []byte, id uint64, digest Digest) []byte {
	start := len(out)
	out = binary.LittleEndian.AppendUint64(out, id)
	out = append(out, digest[:]...)
	return binary.LittleEndian.AppendUint32(out, crc32.Checksum(out[start:], castagnoli))
}

// confirm writes down an order that the broker has stored.
func (l *ledger) confirm(id uint64) error { return l.confirmed.add(Effect{ID: id, Attempt: 1}) }

func (l *ledger) close() error { return errors.Join(l.intents.Close(), l.confirmed.close()) }

// readLedger returns the digests of everything that may have been published, and
// which of it was confirmed.
func readLedger(dir string) (map[uint64]Digest, map[uint64]bool, error) {
	raw, err := contents(dir, ledgerFile)
	if err != nil {
		return nil, nil, fmt.Errorf("ledger: %w", err)
	}
	published := make(map[uint64]Digest, len(raw)/intentSize)
	for at := 0; at+intentSize <= len(raw); at += intentSize {
		line := raw[at : at+intentSize]
		if binary.LittleEndian.Uint32(line[intentSize-4:]) != crc32.Checksum(line[:intentSize-4], castagnoli) {
			return nil, nil, fmt.Errorf("ledger: the line at byte %d is damaged", at)
		}
		published[binary.LittleEndian.Uint64(line)] = Digest(line[8 : 8+sha256.Size])
	}
	if rest := len(raw) % intentSize; rest != 0 {
		return nil, nil, fmt.Errorf("ledger: it ends with %d bytes that are no whole line", rest)
	}
	confirmed := make(map[uint64]bool, len(published))
	list, err := contents(dir, confirmedFile)
	if err != nil {
		return nil, nil, fmt.Errorf("ledger: %w", err)
	}
	if _, err := readEffects(bytes.NewReader(list), func(e Effect) { confirmed[e.ID] = true }); err != nil {
		return nil, nil, err
	}
	return published, confirmed, nil
}
