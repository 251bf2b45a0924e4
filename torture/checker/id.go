package checker

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
)

// ID names a message: the n-th of a producer, from 0 on without gaps, so that a
// loss can be placed at the beginning, in the middle or at the end.
type ID struct {
	Producer uint16
	Counter  uint32
}

// String returns "producer-counter".
func (id ID) String() string {
	return strconv.Itoa(int(id.Producer)) + "-" + strconv.FormatUint(uint64(id.Counter), 10)
}

// ParseID reads what String returns and nothing else.
func ParseID(s string) (ID, error) {
	producer, counter, _ := strings.Cut(s, "-")
	p, err1 := strconv.ParseUint(producer, 10, 16)
	c, err2 := strconv.ParseUint(counter, 10, 32)
	id := ID{Producer: uint16(p), Counter: uint32(c)}
	if err1 != nil || err2 != nil || id.String() != s {
		return ID{}, fmt.Errorf("message id %q is not two numbers with a dash between", s)
	}
	return id, nil
}

// Digest is a fingerprint of the bytes of a message.
type Digest [16]byte

// Pair is a name and a value, as headers are.
type Pair struct {
	Name  string
	Value []byte
}

// Sum returns the digest of a body and the producer's headers in their order. It
// is a part of their SHA-256; lengths are in it, so that no two messages have
// the same digest by being cut differently.
func Sum(body []byte, headers []Pair) Digest {
	h := sha256.New()
	part := func(b []byte) {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(b)))
		h.Write(n[:])
		h.Write(b)
	}
	part(body)
	for _, p := range headers {
		part([]byte(p.Name))
		part(p.Value)
	}
	var d Digest
	copy(d[:], h.Sum(nil))
	return d
}

// KeySum shortens an idempotency key to what fits into a record. Two keys have
// the same sum once in four thousand million times.
func KeySum(key string) uint32 {
	sum := sha256.Sum256([]byte(key))
	return binary.BigEndian.Uint32(sum[:])
}
