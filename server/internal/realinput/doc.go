// Package realinput holds a test and no code: redrive as a whole on input that
// nobody made up for it.
//
// The input is every example payload of GitHub's webhooks, and the JSON Schema
// that is published for them, fetched by e2e/fixtures/fetch. They go through a
// broker process and a worker process to an HTTP endpoint that fails by rules,
// while the worker is killed again and again. At the end each payload has to be
// in exactly the place that its rule says, byte for byte.
//
// A machine without npm, or without a way to its registry, skips the test with a
// line that says so; with REDRIVE_REQUIRE_SERVERS=1 the test fails instead.
package realinput
