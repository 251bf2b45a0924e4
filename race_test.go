//go:build race

package redrive_test

// The race detector makes a seed several times slower, and a simulation has one
// thread.
const raceDetector = true
