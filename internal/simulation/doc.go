// Package simulation runs workers under one scheduler with one thread, in virtual
// time, with a broker in memory and everything else that may fail. A seed decides
// about all of it, so that a failure can be had again, to the byte. See
// docs/simulation.md.
package simulation
