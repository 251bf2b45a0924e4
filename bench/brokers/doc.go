// Package brokers measures what redrive costs on Kafka, RabbitMQ and Amazon SQS,
// beside a loop around the client library that does the same confirmed operations on
// the same queues of the same server.
package brokers
