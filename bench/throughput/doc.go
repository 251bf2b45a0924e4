// Package throughput measures whole subscriptions on a real NATS server: how fast
// messages are handled and settled, with and without failing ones among them, and
// how long the healthy ones wait. Every contender gets the same load, the same
// kind of acknowledgement and the same window.
package throughput
