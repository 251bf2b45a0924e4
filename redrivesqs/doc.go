// Package redrivesqs is the adapter for Amazon SQS. [Connect] gives a [Broker] that a
// worker consumes from:
//
//	b, err := redrivesqs.Connect(ctx, redrivesqs.Config{Region: "eu-central-1"})
//
// Credentials come from the AWS SDK's own chain. [New] takes a client that the caller
// configured.
//
// # Queues
//
// A source is the SQS queue of that name, standard or FIFO, and is created as such if
// it does not exist. Dead-letter queue, quarantines and the queues for outcomes and
// heartbeats are created beside it, those for letters with the longest retention that
// SQS has, 14 days: letters have to be taken into a catalogue before. What belongs to
// a FIFO source is FIFO. SQS allows no dot in a name, so "orders.dlq" is
// "orders_2edlq", and "orders.fifo.dlq" is "orders_2edlq.fifo".
//
// A consumer group other than the default one has a queue of its own,
// "orders--audit_2egroup", which [Broker.Publish] fills too: producers that send to
// the source themselves reach the default group alone. Where messages are fanned out
// by SNS or EventBridge, make each of those queues a source.
//
// # Where messages wait
//
// In a standard queue a retry is a delayed copy in the same queue, confirmed before
// the original is deleted. SQS delays by full seconds and 15 minutes at the most: a
// copy comes up to a second early and is held here until it is due, and after 15
// minutes it is sent on by another copy. In a FIFO queue the message waits in its
// place, out of sight, and holds up its message group, so that order is kept; its
// history is kept by [Config.Marks].
//
// # Marks
//
// SQS keeps no notes about a message, so [Config.Marks] does. Without a store a message
// that kills its process is not detected; and in a FIFO queue, what another process
// tried is not known: there each receive counts as an attempt.
//
// # Attributes
//
// A producer's attributes are headers, sorted by name. The data type of those that are
// not a plain String is in the header [HeaderTypes]. SQS takes ten attributes, of
// which redrive uses "redrive" for the envelope, "redrive-due" for the time of a
// retry, "redrive-expires-at", and [AttributeDetails] for the rest: one JSON object
// with "id", the producer's message id; "time", when the original was stored, in Unix
// milliseconds; "key", in base64, where it cannot be the message group id; "no_key";
// "body", which is "base64" for a body that is no text to SQS and "empty" for an empty
// one; "headers", a list of all headers in order, where a string names an attribute
// and a list is name and value, both or the value alone in base64 if "nv" or "v"
// follows; and "types", their data types. Headers beyond ten, and names or values that
// SQS does not take, are there too.
//
// # What confirmed means
//
// SQS answers after it has stored a message on several servers. One that it does not
// name in its answer, or names as failed, is not confirmed.
package redrivesqs
