// Package worker is the process that is killed: the real library on the real
// broker, with a handler that plays a script and writes down what it does.
//
// A worker tells its parent nothing. What it did is in its journal, one record per
// write, so that the journal of a process that was killed at any instruction says
// what had happened until then.
package worker
