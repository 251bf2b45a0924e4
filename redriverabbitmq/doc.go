// Package redriverabbitmq is the adapter for RabbitMQ 3.10 and newer. [Connect]
// gives a [Broker] that a worker consumes from:
//
//	b, err := redriverabbitmq.Connect(ctx, redriverabbitmq.Config{
//		URL:           "amqp://redrive:secret@localhost:5672/",
//		ManagementURL: "http://localhost:15672",
//	})
//
// # Queues
//
// The source is a queue of yours, which is consumed as it is and never altered, or
// one that redrive makes. Publish to it, or bind it to your exchanges. A queue has
// one consumer group: for another one bind another queue.
//
// Beside it redrive makes quorum queues without a delivery limit: <source>.dlq and
// its quarantines, <source>.retry for retries that are due and for replays, and
// six delay tiers, <source>.retry.1s to <source>.retry.1h. Outcomes and heartbeats
// of all subscriptions of a vhost lie in redrive.outcomes and in the stream
// redrive.heartbeats. A name that RabbitMQ does not allow is replaced by a digest.
//
// # How messages move
//
// A retry is a copy that is published persistent and mandatory to the longest tier
// that ends before it is due, confirmed and routed before the original is
// acknowledged. The tier hands it to <source>.retry with confirmation
// (x-dead-letter-strategy at-least-once); if it is not due then, it goes on to the
// next tier, and the last part of a second it waits in the consumer. So delays are
// exact, whatever they are, and no delay holds up another. A dead letter is moved
// in the same way. A crash between copy and acknowledgement makes a second copy and
// never none.
//
// AMQP 0-9-1 confirms no acknowledgement. Settle waits until the broker has read
// it; a broker that is killed within half a second after may forget it, and the
// message then comes again.
//
// # What is checked
//
// With a ManagementURL, [Broker.Open] refuses queues on which messages are lost,
// each with the id of a rule and a remedy: see the constants Rule*. Without one it
// refuses what a declaration shows, and Caps say what was not checked.
//
// # Headers
//
// The properties of a message are among its headers, as content-type,
// correlation-id and so on. Fields that are no strings are shown as text, and
// [HeaderTypes] beside them keeps their types, so that a replay publishes what the
// producer did. Headers that steer the broker (CC, BCC, expiration, user-id,
// x-delay, x-death) are kept in the envelope of a copy and never sent.
package redriverabbitmq
