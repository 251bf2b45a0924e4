// Package scenario is the script of a run: what every message is, and what its
// handler does with it. All of it follows from a seed and the message's id, so
// that producers, workers and checker agree without talking to each other.
package scenario
