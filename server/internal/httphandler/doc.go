// Package httphandler delivers messages to handlers that are HTTP endpoints, in
// any language, and turns each answer into an error of package failure.
//
// Make one [Client] per subscription with [New] and call [Client.Handle] for
// each message. It posts the body as it is, with the headers below, and waits
// for the answer.
//
// # What an answer means
//
//	2xx                                  handled
//	400, 413, 415, 422                   schema: dead-lettered
//	other 4xx                            business: dead-lettered
//	408, 409, 423, 425                   transient, not held against the endpoint
//	429, and 503 with Retry-After        throttled: no attempt, the subscription waits
//	401, 403, 404, 405, 407, 501         transient: a rotated token or a bad deployment
//	                                     is an outage, and not the message's fault
//	5xx, 3xx (never followed), 101       transient
//	refused, reset, TLS error, time-out  transient
//
// [Config.Statuses] replaces any row. An endpoint that knows better says so with
// the response header Redrive-Category, which takes the same names and wins over
// both. Retry-After, in seconds or as a date, is honoured on every transient and
// throttled answer. The first 2 KiB of the response body become the text of the
// error.
//
// # What a request carries
//
//	Content-Type           as the producer gave it, else application/octet-stream
//	Idempotency-Key        the same on every attempt and every replay of a message
//	Redrive-Attempt        1 on the first attempt
//	Redrive-Max-Attempts   after this one the message is dead-lettered
//	Redrive-First-Failure  RFC 3339, absent on a first attempt
//	Redrive-Correlation-Id ties the message to the operation it belongs to
//	Redrive-Message-Id     the id that the producer or the broker gave
//	Redrive-Headers        producer headers that could not be sent as HTTP headers
//
// A value that an HTTP header cannot carry, or that begins with "base64:", is
// sent as "base64:" and its standard base64. One longer than 1,024 bytes is sent
// as "sha256:" and its digest in hexadecimal; one that only looks like that is
// sent as base64. So two different keys are never sent as the same value.
//
// The producer's own headers are sent along when they are plain HTTP headers. A
// producer cannot set a header of redrive's, one that the configuration sets, one
// that steers HTTP, or one on which endpoints base their trust (Authorization,
// Cookie, X-Forwarded-For and the like). Those, and headers that are not valid in
// HTTP or come twice, are data: they travel in Redrive-Headers, which is the
// standard base64 of a JSON array in the original order,
//
//	[{"name":"Authorization","value":"QmVhcmVyIGFiYw=="}]
//
// where value is base64 again, because it may be any bytes. A name that is not
// valid UTF-8 comes as name_base64 instead of name. Producer headers together
// take at most [Config.MaxHeaderBytes]; Redrive-Headers-Omitted then counts the
// ones left out.
//
// # Signatures
//
// With [Config.Signing] each request is signed as the Standard Webhooks
// specification says, in webhook-id, webhook-timestamp and webhook-signature, so
// that any of its libraries can check where the request comes from. webhook-id is
// the idempotency key with "." written as "%2E" and "%" as "%25", because the dot
// separates the signed parts. Give the new secret and the old one while you
// rotate: the request then carries a signature of each.
//
// # One layer of retries
//
// One call of Handle is at most one request that the endpoint sees. net/http on
// its own repeats a request whose connection broke if it carries an
// Idempotency-Key; that is switched off here, because such a repeat would be an
// attempt that nobody counts, and a message that kills its handler would kill one
// process per idle connection.
//
// # Secrets
//
// A [Secret] is read again for every request, so that a rotated one is used at
// once. It appears in no error, not even when the endpoint's answer repeats it.
// Put credentials there and not into the URL.
//
// HTTP_PROXY, HTTPS_PROXY and NO_PROXY are followed as net/http does.
package httphandler
