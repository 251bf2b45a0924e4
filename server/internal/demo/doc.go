// Package demo shows what redrive does, and checks it: an order service whose
// downstream fails on schedule, and an account of where every order ended.
//
// [Run] starts a broker, publishes orders and runs the workers in a process of
// their own, because one of the orders kills the process that handles it. What
// goes wrong is planned by [Plan] from a seed: brief errors, an outage of the
// downstream, malformed orders, orders that a business rule refuses, one order
// that fails for ever, one that panics and one that kills.
//
// # The account
//
// [Balance] never asks a worker what it did. It compares three things that do
// not depend on the code under test: the list of what was published, written
// before the first byte is sent; the effect log, written by the handler at the
// moment where an order takes effect, in records that outlive a killed process;
// and what the queues hold at the end, read without any effect on them. Every
// published order has to be in exactly one of them, byte for byte.
//
// # Known-bad variants
//
// With Options.Mutant the workers use a broker that is wrong on purpose, such as
// one that settles a message before its copy is stored, and Options.Kills ends
// the worker process in the middle of moves. A check that such a variant passed
// would be worth nothing.
package demo
