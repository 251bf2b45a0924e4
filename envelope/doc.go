// Package envelope is what redrive sends beside a message, in one versioned
// header of bounded size: identities, the history of attempts, and why the
// message is where it is.
//
// [Encode] makes the value of the header, [Decode] reads it, and
// [Envelope.Belongs] tells whether it speaks about the message it came with:
// services copy headers onto new messages, so an envelope counts only if its
// source, its consumer group and the digest of its body match what was received.
//
// # Wire format, version 1
//
// The header is called "redrive". Its value is one JSON object on one line of
// printable ASCII: everything else is escaped, so that it survives AMQP, Kafka,
// NATS and SQS alike. Fields that are empty or zero are left out. The order is
// that of the table. Times are Unix milliseconds, durations are milliseconds,
// both as integers.
//
//	v     number   version of the format, 1; always there
//	id    string   message id that the producer or the broker gave
//	key   string   idempotency key; never changes
//	inc   string   incarnation: names this one stored copy
//	org   string   origin: what all copies of one stored message have in common
//	pub   string   publish id of the publication that made this copy
//	cor   string   correlation id
//	src   string   source on which the message failed
//	grp   string   consumer group on which it failed
//	pos   string   native position of the original in its source
//	bd    string   SHA-256 of the body, lower-case hexadecimal
//	n     number   attempts that counted since publication or the last replay
//	un    number   failed runs that cost no attempt
//	max   number   limit of attempts at the newest failure
//	rp    number   replays that the message went through
//	rid   string   publish id of the newest replay
//	ff    time     first failure
//	lf    time     newest failure
//	ex    time     attempts used up while the downstream was in doubt
//	cat   string   category: transient, schema, business, integration, crash
//	why   string   reason for being dead-lettered or quarantined
//	et    string   error type of the newest failure
//	sig   string   signature of the newest failure
//	cc    string   reference to a body that is kept elsewhere
//	trm   strings  what was cut to keep the size, in the order of cutting
//	att   objects  attempts, oldest first, see below
//	ctl   objects  the producer's headers that steer a broker, see below
//	msg   string   message of the newest failure
//	stk   string   stack of the newest failure
//
// An attempt, in att:
//
//	t     time      when the handler returned
//	cat   string    category
//	et    string    error type
//	sig   string    signature
//	d     duration  wait that followed
//	w     string    worker
//	un    string    why the run cost no attempt
//	rp    number    replays before this attempt
//
// A header, in ctl, has at most one of v and b; without either its value is null,
// which is not the same as empty:
//
//	h     string   name
//	v     string   value, if it is printable UTF-8
//	b     string   value in base64 (RFC 4648, padded), if it is anything else
//
// Header values and ids can be any bytes, and two of them must not become equal
// on the way. A byte of a string that is not part of valid UTF-8 is therefore
// written as the escape \udc80 to \udcff, 0xdc00 plus the byte, which no valid
// text contains; readers that do not know this see a lone surrogate.
//
// # Size
//
// Encode never returns more than the limit it is given ([DefaultLimit], or what
// the broker allows). If the envelope is larger it is cut in a fixed order, the
// most dispensable first, and the cuts are recorded in trm: the stack (from its
// end), the history (from its second entry on, so that the first attempt and the
// newest ones stay), the message (from its end, and the error type), the error
// types, workers and signatures of the attempts that are left, and, when nothing
// else helps, headers in ctl, the largest first. Identities are never cut.
//
// # Compatibility
//
// Every version that was ever released decodes for ever; the files under
// testdata keep that. A writer of the same version may add fields, and readers
// ignore the fields that they do not know. A higher version is a
// [*VersionError]: the message must then be left to a newer worker, not
// treated as a message without an envelope.
package envelope
