// Package brokertest is the conformance suite for broker adapters. An adapter
// that passes it keeps the promises of package broker: it loses no message,
// alters none, delivers none early, and says so where it cannot do something.
//
// An adapter's test is one call:
//
//	func TestConformance(t *testing.T) {
//		brokertest.Run(t, brokertest.Harness{
//			Open:    func(t brokertest.T) broker.Broker { return connect(t) },
//			Restart: func(t brokertest.T) { server.KillAndStart(t) },
//			Lease:   time.Second,
//		})
//	}
//
// What a broker can do decides what is asserted: the suite reads broker.Caps,
// holds the adapter to what it claims, and where a capability is missing asserts
// that the call is refused with broker.ErrUnsupported. It skips nothing.
//
// A case waits on real receives with deadlines, so the suite runs against real
// servers, and in no time at all inside a testing/synctest bubble: set
// [Harness.Around] to synctest.Test if the broker lives in memory.
//
// # Checking the checker
//
// The cases are values, see [Cases], and work on the small interface [T].
// [Record] runs one and returns its verdict instead of failing a test, so that a
// test can show that a broken broker is caught.
//
// # Stores of marks
//
// [RunMarkStore] is the suite for implementations of broker.MarkStore.
package brokertest
