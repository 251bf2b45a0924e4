// Package child runs what must not share this process: the NATS server that is
// measured against, and the redrive binary itself. Children die with their parent.
package child
