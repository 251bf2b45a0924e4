// Package sqlmarks keeps the notes that redrive makes about stored messages in a SQL
// database, for brokers that cannot attach one to a message: RabbitMQ over AMQP 0-9-1
// and SQS. With it a message that kills its process is found and quarantined there too,
// and a verdict that could not be carried out yet survives the worker.
//
// It works over database/sql with the driver that the caller has opened, on SQLite
// (3.35 or newer) and PostgreSQL (9.5 or newer). [New] makes a [Store],
// [Store.Migrate] creates its table, and an adapter is given it as its
// [broker.MarkStore]. All workers of a subscription must share one database: the next
// delivery may come to any of them.
//
// # Durability
//
// What Store.StoreMark returns from must survive a crash, or a message that kills its
// process is tried once more than it should be. On SQLite open the database with
// synchronous=FULL, with a busy timeout and with immediate transactions; on PostgreSQL
// leave synchronous_commit on.
//
// # Size
//
// A mark is deleted when its message is settled. A crash in between leaves one behind
// that nobody asks for again: call [Store.Purge] now and then.
package sqlmarks
