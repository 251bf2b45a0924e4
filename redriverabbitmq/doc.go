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
// # AMQP 1.0
//
// From RabbitMQ 4.0 on a queue can be consumed over AMQP 1.0, and is by itself where
// the management API shows that this is safe (Config.Protocol): the queue is a quorum
// queue that dead-letters at-least-once, with reject-publish, into a queue that keeps
// letters for ever, as those that redrive makes do. It is looked at again with each
// connection. Then one settlement moves the message into its dead-letter queue, with
// everything that it carries, and from 4.3 on a retry waits in its place until it is
// due. Nothing is copied, so a crash of a worker doubles nothing; a crash of the
// broker doubles at most the 32 letters that its dead-letter worker has in hand.
// Quarantines, and delays before 4.3, are confirmed copies as above.
//
// Settlements are confirmed: Settle returns when the queue has applied them. What
// redrive adds travels in the annotations x-opt-redrive and x-opt-redrive-*, which are
// headers to a client over AMQP 0-9-1. Handlers do not see headers that are tables or
// lists, since AMQP 1.0 carries none, and a quarantined copy is without them; set
// Protocol to [Protocol091] if your producers send such headers.
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
