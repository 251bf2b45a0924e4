package e2e_test

import (
	"bytes"
	"encoding/binary"
	"sync"
	"sync/atomic"

	"github.com/Shopify/toxiproxy/v2/toxics"
)

// wires are the wires of running cases, by the name of their proxy: a toxic is made
// of JSON, and finds its wire here.
var wires sync.Map

// cutAtSettlement passes requests on up to the first settlement on any connection of
// the wire, and nothing from there on.
type cutAtSettlement struct {
	Wire string `json:"wire"`

	dead atomic.Bool
}

func (c *cutAtSettlement) Pipe(stub *toxics.ToxicStub) {
	find, armed := func([]byte) int { return -1 }, func() bool { return false }
	if found, ok := wires.Load(c.Wire); ok {
		if w, ok := found.(*wire); ok {
			find, armed = w.settlement(), w.armed.Load
		}
	}
	for {
		select {
		case <-stub.Interrupt:
			return
		case chunk := <-stub.Input:
			if chunk == nil {
				stub.Close()
				return
			}
			// What comes is looked at in any case, so that the next frame is found.
			if i := find(chunk.Data); i >= 0 && armed() && !c.dead.Load() {
				c.dead.Store(true)
				chunk.Data = chunk.Data[:i]
			} else if c.dead.Load() {
				continue
			}
			stub.Output <- chunk
		}
	}
}

func settlementNATS() func([]byte) int {
	return func(p []byte) int {
		i := bytes.Index(p, []byte("PUB $JS.ACK."))
		if i > 0 && p[i-1] == 'H' {
			i--
		}
		return i
	}
}

// settlementSQS looks for the header that names the action.
func settlementSQS() func([]byte) int {
	return func(p []byte) int { return bytes.Index(p, []byte("AmazonSQS.DeleteMessage")) }
}

// framed finds a frame that settles in requests of frames: least bytes of each tell
// how long it is and what it is.
func framed(least int, size func([]byte) int, settles func([]byte) bool) func([]byte) int {
	next := 0
	return func(p []byte) int {
		found := -1
		for next+least <= len(p) {
			if found < 0 && settles(p[next:]) {
				found = next
			}
			next += max(least, size(p[next:]))
		}
		next = max(0, next-len(p))
		return found
	}
}

// settlementKafka looks for the commit of offsets.
func settlementKafka() func([]byte) int {
	const offsetCommit = 8
	return framed(6,
		func(p []byte) int { return 4 + int(binary.BigEndian.Uint32(p)) },
		func(p []byte) bool { return binary.BigEndian.Uint16(p[4:]) == offsetCommit })
}
