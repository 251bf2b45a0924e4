// Package mutant contains brokers that are wrong on purpose, each in one way in
// which real systems lose or double messages. A checker that does not catch
// every one of them proves nothing by passing.
//
//	for _, name := range mutant.Names() {
//		bad, err := mutant.Wrap(name, good)
//		// run the checker on bad: it must fail
//	}
//
// A mutant wraps any broker and breaks the port only where its name says; all
// else goes through. It starts no goroutine, so that a single-threaded
// simulator can drive it.
package mutant
