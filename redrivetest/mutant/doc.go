// Package mutant is wrong on purpose: each mutant in one way in which real
// systems lose or double messages, or blame the innocent. A checker that does not
// catch every one of them proves nothing by passing.
//
//	for _, name := range mutant.Names() {
//		bad, err := mutant.Apply(name, mutant.Parts{Broker: good, Inbox: inbox})
//		// run the checker on a worker with these parts: it must fail
//	}
//
// A mutant replaces one part of a worker (the broker, the inbox, the decision or
// the derivation of keys) and breaks it only where its name says; all else goes
// through. Those that are about a broker alone come from Wrap too. None starts a
// goroutine or has a clock, so that a single-threaded simulator can drive them;
// TimestampedKey takes the time from the system, as the mistake does.
package mutant
