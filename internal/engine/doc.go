// Package engine is the state of one subscription's worker, without its
// goroutines: which messages are waiting, held, running alone, running, being
// moved, or staying because a move failed; when leases are extended, when
// handlers run out of time, when the next message is asked for.
//
// A [Machine] is told what happened and answers with what to do next, as
// [Action] values. It has no goroutine, no clock and no I/O, so the worker
// drives it with real time and goroutines, and a simulation drives the same
// code with one thread, a seed and a broker that fails at every step.
//
// The duties of the driver: execute each action once, in any order; report the
// end of each Receive, Run, Settle, Mark and Extend by the method of that name;
// call Tick when Next comes. Calls are serialised by the driver.
package engine
