package demo

import (
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/redrive-dev/redrive/broker"
)

// Source is the queue of the demo on a broker of its own.
const Source = "orders"

// headerOrder carries the id of an order beside the body, so that a body which
// cannot be read can still be accounted for. It is the idempotency key too.
const headerOrder = "order-id"

// order is the body of a message.
type order struct {
	Order    uint64 `json:"order"`
	Customer string `json:"customer"`
	Item     string `json:"item"`
	Quantity int    `json:"quantity"`
	Cents    int64  `json:"cents"`
	// Note is what makes an order special, for whoever looks at one.
	Note string `json:"note,omitempty"`
}

// body makes the body of an order.
func (p Plan) body(id uint64) []byte {
	kind, _ := p.Of(id)
	h := p.hash(^id)
	items := [...]string{"kettle", "lamp", "desk", "chair", "rug", "clock", "mirror", "shelf"}
	o := order{
		Order: id, Customer: fmt.Sprintf("customer-%04d", h%5000), Item: items[h>>16%uint64(len(items))],
		Quantity: 1 + int(h>>24%5), Cents: 100 + int64(h>>32%100_000),
	}
	switch kind {
	case Refused:
		o.Quantity = 0
	case Poison, Panicking, Killer:
		o.Note = kind.String()
	case Ordinary, Brief, Malformed:
	}
	raw, err := json.Marshal(o)
	if err != nil {
		raw = []byte(err.Error()) // Not reached: the struct has no field that can fail.
	}
	if kind == Malformed {
		raw = raw[:len(raw)/2]
	}
	return raw
}

// outbound makes the message of an order. Its id is the same however often it
// is published.
func (p Plan) outbound(source, run string, id uint64) broker.Outbound {
	text := strconv.FormatUint(id, 10)
	return broker.Outbound{
		Queue: source, ID: "pub:demo-" + run + "-" + text, Body: p.body(id),
		Headers: []broker.Header{
			{Name: "content-type", Value: []byte("application/json")},
			{Name: headerOrder, Value: []byte(text)},
		},
	}
}

// orderID returns the id of the order that a message carries.
func orderID(value []byte, ok bool) (uint64, bool) {
	if !ok {
		return 0, false
	}
	id, err := strconv.ParseUint(string(value), 10, 64)
	return id, err == nil && id > 0
}
