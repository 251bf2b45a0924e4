// Package amqp10 consumes RabbitMQ queues over AMQP 1.0 with settlements that are
// confirmed.
//
// RabbitMQ does not confirm a settlement: it refuses the receiver settle mode
// "second", in which AMQP would. So each queue gets a second link on the same session,
// the fence, which never has credit. The server hands the commands of a session to a
// quorum queue in order, and answers a request to drain the fence only when the queue
// has applied it, that is, after a majority has stored it. When the answer is here,
// every settlement that was sent before is as durable as a published message. One
// request confirms all settlements that were written before it.
//
// A queue process of RabbitMQ keeps settlements back when more than 32 commands of a
// session are on their way, and passes requests on at once; it sends what it kept back
// when the request is applied. Then a second request, sent after the answer to the
// first, is behind everything. The fence asks twice when it is not sure that there
// were few.
//
// The package holds no policy: what a settlement says is for the caller to choose.
package amqp10
