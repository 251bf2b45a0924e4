//go:build !race

package redrive_test

const raceDetector = false
