// Package redrivenats is the adapter for NATS JetStream. [Connect] gives a
// [Broker] that a worker consumes from:
//
//	b, err := redrivenats.Connect(ctx, redrivenats.Config{URL: "nats://localhost:4222"})
//
// It needs a server of version 2.12 or newer, for message schedules, with
// JetStream and file storage.
//
// # Queues
//
// A queue that does not exist is created as a work queue stream whose subject is
// the queue's name, so that any NATS client can publish to it. It feeds the
// default consumer group. Each further group has a stream of its own, which
// [Broker.Publish] fills too: plain clients reach the default group alone.
//
// A stream of your own, found by a subject or by its name, is consumed through a
// durable consumer and never altered. Several groups on it see every message,
// as its retention allows. A durable that you made is used if it has the name of
// the group, and refused if it has MaxDeliver or BackOff: both lose messages
// sooner or later.
//
// # Where messages wait
//
// Retries wait in one stream, <prefix>_retry, as message schedules, which
// survive restarts and hold no slot of a consumer. Letters of all dead-letter
// queues and quarantines lie in one stream, <prefix>_dlq, one subject for each
// queue, without any limit or age. Outcomes of replays lie in <prefix>_outcomes,
// without any limit or age too, and the newest heartbeat of each worker in
// <prefix>_heartbeats, for a day. Notes about messages in flight lie in the
// bucket <prefix>_marks. Stream and subject names are made by an injective
// function of the logical name: a byte other than a letter, a digit, '-' or '_'
// becomes '_' and two hexadecimal digits.
//
// # Headers
//
// A producer's headers come back as they were, except that NATS clients in Go do
// not tell the order of headers with different names: messages of plain clients
// show them sorted by name. Header names and values that NATS cannot carry are
// carried by [HeaderExtra]; [HeaderKey] carries the message key.
//
// # What confirmed means
//
// The server confirms a write before it is on disk, unless it runs with
// sync_interval: always or with replicas. redrive believes the server; how far
// that goes is a setting of the server.
package redrivenats
