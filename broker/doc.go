// Package broker is the port between redrive and a message broker: what an
// adapter must be able to do, in small interfaces, and the words they share.
//
// Users of redrive rarely call it. They make a [Broker] with an adapter such as
// redrivenats, and hand it to a worker. Whoever writes an adapter implements
// the interfaces here and runs the conformance suite of package brokertest.
//
// # The one rule
//
// A message leaves a place only by a confirmed move: the copy is durable and
// confirmed by the broker first, then the original is settled, or both happen
// in one atomic step. A confirmation that is false, missing, late or unknown
// leaves the original where it is. An adapter owns the whole move, because
// brokers differ in what they can do in one step; the core owns attempts,
// delays, and what the message carries.
//
// # Headers
//
// An adapter hands the producer's headers over in [Message.Headers] as they
// came, but for two kinds: redrive's own header, which goes to
// [Message.Envelope], and the headers that steer the broker itself (a copied
// Nats-Rollup purges a stream, a copied expiration deletes a letter), which go
// to [Message.Control]. On every copy it sends Headers and the envelope, and
// never Control: the core keeps those inside the envelope.
package broker
