package demo

// Kind is what is planned for an order.
type Kind uint8

// The kinds of orders.
const (
	// Ordinary orders succeed whenever the downstream is up.
	Ordinary Kind = iota
	// Brief orders fail one to three times first.
	Brief
	// Malformed orders are no JSON.
	Malformed
	// Refused orders break a business rule.
	Refused
	// Poison fails with one error for ever.
	Poison
	// Panicking makes the handler panic.
	Panicking
	// Killer ends the process that handles it.
	Killer
)

// String returns the name of the kind, for people.
func (k Kind) String() string {
	names := [...]string{"ordinary", "brief", "malformed", "refused", "poison", "panicking", "killer"}
	if int(k) < len(names) {
		return names[k]
	}
	return "unknown"
}

// Plan says what goes wrong with which order. It is a function of its fields:
// every process that has them agrees.
type Plan struct {
	// Seed chooses the orders.
	Seed uint64 `json:"seed"`
	// NoKiller leaves out the order that kills the process, for brokers on which
	// nobody would find out which one it is.
	NoKiller bool `json:"no_killer,omitempty"`
	// Block is the number of orders in which each of the single ones (poison, panic
	// and killer) happens once. A block of fewer than 10 has none of them.
	Block int `json:"block"`
}

// Shares of the orders, in thousandths.
const (
	briefShare     = 50
	malformedShare = 10
	refusedShare   = 5
)

// Of returns what is planned for an order, and for Brief how often it fails.
// Ids count from 1.
func (p Plan) Of(id uint64) (kind Kind, failures int) {
	if block := uint64(p.Block); block >= 10 {
		switch (id - 1) % block {
		case block / 10:
			if !p.NoKiller {
				return Killer, 0
			}
		case block / 5:
			return Poison, 0
		case 3 * block / 10:
			return Panicking, 0
		}
	}
	h := p.hash(id)
	switch share := h % 1000; {
	case share < briefShare:
		return Brief, 1 + int(h>>32%3)
	case share < briefShare+malformedShare:
		return Malformed, 0
	case share < briefShare+malformedShare+refusedShare:
		return Refused, 0
	}
	return Ordinary, 0
}

// hash spreads ids evenly (splitmix64).
func (p Plan) hash(id uint64) uint64 {
	z := p.Seed + id*0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}
