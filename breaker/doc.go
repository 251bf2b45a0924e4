// Package breaker stops calls to a downstream that fails, and finds out with
// single probes when it is well again.
//
// Ask before each call, and report how it went:
//
//	permit, err := b.Allow(time.Now())
//	if err != nil {
//		return err // *OpenError: hold the message until RecoverAt
//	}
//	err = call()
//	b.Report(time.Now(), permit, outcome(err))
//
// # States
//
// A closed breaker lets everything through. It opens after Consecutive failures
// in a row, or when FailureRate of at least MinVolume results within Window are
// failures, or when [Breaker.Trip] is called because the downstream asked for a
// pause. An open one refuses until its recovery time has come. Then it is
// half-open: at most Probes permits are out at once, and after Successes
// successful probes it closes. A failed probe opens it again, for longer each
// time, from Recovery up to RecoveryMax.
//
// # What counts
//
// Only what speaks against the downstream is a [Failure]: a timeout, a refused
// connection. A message that is wrong in itself is [Ignored], and so is a call
// that was not made or was cancelled by us: the permit is given back and nothing
// is counted.
//
// # Generations
//
// Each change of state begins a new generation with counters at zero. A permit
// belongs to the generation that gave it, and its result counts only in that one:
// calls that began before an outage and fail slowly cannot prolong it, and cannot
// reopen a breaker that has recovered since. Reporting a permit twice has no
// effect, so that a deferred report is safe beside an early one.
//
// A probe whose result never comes is taken back after ProbeTimeout; otherwise
// one lost result would keep the breaker from ever closing.
//
// # Time and chance
//
// A Breaker has no clock and no goroutine: time is an argument, and recovery times
// are drawn from a seed. Give each process its own seed, so that workers do not
// probe a downstream that wakes up all at one moment. Times should come from one
// clock and carry its monotonic reading, as those of time.Now do; then a step of
// the wall clock changes nothing.
//
// # Cost
//
// While closed, a successful call costs a few atomic operations, no lock and no
// allocation.
package breaker
