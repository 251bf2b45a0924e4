// Package envelope is what redrive sends beside a message, in one versioned
// header of bounded size: identities, the history of attempts, and why the
// message is where it is.
package envelope
