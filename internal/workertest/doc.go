// Package workertest is the part of the conformance suite that needs a worker: it
// runs a real redrive.Worker on the broker of a brokertest.Harness, kills it, its
// client and the broker, and counts.
//
// An adapter's test is one call, beside that of brokertest.Run:
//
//	brokertest.RunCases(t, harness, workertest.Cases())
//
// Its cases are evidence for the same requirements, see brokertest.Requirements.
//
//go:generate go run ./conformancedoc -out ../../docs/conformance.md
package workertest
