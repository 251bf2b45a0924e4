// Package redrivetest is for tests of code that uses redrive: a broker in
// memory, a way to make any broker fail, and assertions.
//
// # A broker in memory
//
// [NewBroker] makes a broker that implements all of package broker: leases that
// run out, exact delivery counts, marks, retries that are never early, dedupe by
// publish id, consumer groups that each see every message, and dead letters that
// can be looked at, fetched and removed one by one. It passes the conformance
// suite of package brokertest. It loses nothing: what you see lost in a test was
// lost by the code under test.
//
//	b := redrivetest.NewBroker()
//	sub, err := b.Open(ctx, broker.Spec{Source: "orders"})
//
// Time is the caller's. By default it is time.Now, and inside a testing/synctest
// bubble a lease of thirty seconds runs out at once. With [WithClock] and
// [Subscription.TryReceive] a single-threaded simulator drives it without any
// goroutine. Everything is in one order for one sequence of calls: no randomness,
// no background work.
//
// The death of a process is [Broker.Kill], that of the broker
// [Broker.Restart], and [Broker.Client] is the next client.
//
// # Faults
//
// [Inject] wraps any broker, also a real one, with faults:
//
//	full := redrivetest.FailSettle("*.dlq").Nth(2).With(broker.ErrFull)
//	b := redrivetest.Inject(redrivetest.NewBroker(), full)
//
// # Assertions
//
// [Account] keeps the books: [AssertBalanced] fails a test unless each message
// that was confirmed has been handled or is in some queue, byte for byte.
// [Drained] waits for the work to be done and [NoLeaks] looks for goroutines that
// stayed behind. They take the small interface [TB], so that this package does
// not link package testing.
package redrivetest
