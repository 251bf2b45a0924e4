// Package retry says how long to wait before a failed message is tried again,
// and how many retries a process may add to the load.
//
// Start with the zero [Policy]: five attempts, exponential backoff from 100 ms
// to 30 s, full jitter. It is right for most downstreams. [Policy.Delay] turns
// the number of the failed attempt into a delay:
//
//	delay := policy.Delay(attempt, category, previous, 0, random)
//
// # Choosing a strategy
//
// A [Strategy] is a formula ([Backoff]) and how chance is applied to it
// ([Jitter]). Jitter matters more than the formula. When many messages fail at
// one moment, a formula alone makes them all come back at one moment, again and
// again; in the published experiment with 100 competing clients exponential
// backoff without jitter takes thirteen times as long as with full jitter.
// [Full] does the least work at nearly the least time and is the default.
//
// Where a downstream fails in phases, [Policy.Tiers] uses another strategy per
// range of attempts or per category: quickly at first, patiently later.
//
// # What is guaranteed
//
// A delay is in [0, Max] after jitter, at every attempt number up to 2³¹ and
// beyond. It is computed once, by a function without hidden state: what Delay
// returns is what a caller records, shows and waits. A delay that the downstream
// asked for (Retry-After) wins over the strategy, up to Policy.RetryAfterMax.
//
// # Budgets
//
// Jitter spreads retries, it does not make them fewer. A downstream that is just
// overloaded is kept overloaded by its retries. A [Budget] limits them to a share
// of first attempts plus a small constant rate. It never refuses: a retry for
// which there is no token yet is told how long to wait for it. What a first attempt
// pays for can be used for [BudgetConfig].Life, 10 s, as in Finagle's RetryBudget: the
// retries of a backlog that was worked off at full speed come in a burst and after
// its last first attempt, and an account that is refilled by traffic alone would then
// let them through a few in a second.
//
// # Time and chance
//
// Nothing here reads a clock or a global source of random numbers. Both are
// arguments, so that a schedule can be replayed from its seed.
package retry
