// Package redrivekafka is the adapter for Apache Kafka 3.3 and newer, by franz-go.
// [Connect] gives a [Broker] that a worker consumes from:
//
//	b, err := redrivekafka.Connect(ctx, redrivekafka.Config{Brokers: []string{"localhost:9092"}})
//
// # Topics
//
// A queue is a topic of the same name, if Kafka takes the name. A source that does
// not exist is created; one that exists is never altered. Beside it lie the topics of
// its subscriptions, with as many partitions as the source: a replay topic, one retry
// topic for each length of wait (<source>.retry.1s, 5s, 30s, 2m, 10m and 1h), the
// dead-letter topic and the quarantines. None of them deletes or compacts anything:
// if one that exists does, [Broker.Open] refuses to start, with every problem.
// Outcomes of replays lie in redrive.outcomes, and the newest heartbeat of each worker
// in redrive.heartbeats, which is compacted.
//
// A copy goes to the partition with the number of the original's, modulo what there
// are, with its key, headers and value.
//
// # Groups
//
// A named consumer group is the Kafka group of that name, and the default group is
// redrive.<source>. The retry and replay topics are read by a group of their own, so
// that neither waits for the other. Partitions move by cooperative rebalances: a
// partition is given up when what is handed out of it has been settled, or when three
// quarters of [Config.RebalanceTimeout] have passed.
//
// # What settled means
//
// Kafka knows one number for a partition: the offset below which everything is
// settled. Messages are settled in any order, so redrive writes what is settled
// beyond that offset into the metadata beside it, and Settle returns when the group
// has both. A crash repeats what was not settled, and nothing else. Messages are
// handed out up to 8192 offsets beyond the oldest unsettled one of their partition.
//
// The same metadata keeps marks, and how far a member has handed out messages: after
// a crash the next member counts a delivery for each message that the dead one may
// have had. A member that gives a partition up takes that back.
//
// # Retries
//
// A retry is a copy in a retry topic, with its exact time in the header redrive-due.
// The reader keeps the next [Config.RetryWindow] records of each partition in
// memory and hands each out at its time. It is late only behind a longer queue than
// that. With [Config.Ordered] a message is retried in its place instead, and the later
// ones of its key wait.
//
// # What confirmed means
//
// A confirmed record is in the memory of all in-sync replicas. Kafka writes to disk
// later; a power cut of all of them at once loses what was confirmed last.
package redrivekafka
