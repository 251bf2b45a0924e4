// Package process measures the redrive binary as a user starts it: how soon it
// works, what it takes while nothing happens, and how large it is.
package process
