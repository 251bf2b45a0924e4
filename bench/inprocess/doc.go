// Package inprocess measures what a call, a failure and a message cost inside of
// one process, without a broker.
package inprocess
