// Package report is what workers tell the server through the broker: what became
// of a replayed message, in the queue redrive.outcomes, and how they are, in the
// queue redrive.heartbeats.
//
// Each record is the body of one message: a JSON object of bounded size with its
// format's version in "v" and its kind in "type". Times are RFC 3339 in UTC, with
// milliseconds; durations are milliseconds. Strings are UTF-8; a byte that is not
// is replaced.
//
// # Outcome, version 1
//
// A worker publishes it, and waits for its confirmation, before it settles a
// replayed message for good. It is published under [Outcome.ID], the same when a
// crash makes the worker repeat it. It says what was decided: the worker can
// die before it has settled, and what the next one decides can be different. The newest
// record about a replay counts, and a letter that is back in a dead-letter queue
// with that replay in its envelope counts more than any record.
//
//	v         number  1
//	type      string  "outcome"
//	replay_id string  publish id of the replay, which names the letter
//	replays   number  replays of the message so far, this one included
//	verdict   string  settled, duplicate, dead_lettered or quarantined
//	source    string  source and consumer group of the subscription
//	group     string
//	key       string  idempotency key
//	queue     string  where the letter goes, with dead_lettered and quarantined
//	category  string  category and reason of the letter, and the signature of the
//	reason    string  newest failure
//	signature string
//	worker    string  who decided
//	at        time    when
//
// # Heartbeat, version 1
//
// A worker publishes it under [Heartbeat.Key] when it starts, every interval_ms,
// and once more when it stops cleanly. Whoever reads it decides by "at" and
// "interval_ms" whether the worker is still there.
//
//	v            number  1
//	type         string  "heartbeat"
//	source       string  source and consumer group of the subscription
//	group        string
//	worker       string  name of the worker
//	version      string  release of the program that it runs in
//	state        string  running, stopping or stopped
//	started_at   time    start of the worker
//	at           time    when this was true
//	interval_ms  number  time between two heartbeats
//	policy       string  digest of the policy, lower-case hexadecimal SHA-256
//	paused       bool    no message is asked for, because the breaker is open
//	breaker      object  breaker of the handler: state (closed, open or half-open)
//	                     and probe_due_at, unless it is closed
//	dependencies objects breakers of named dependencies, by name: name, state,
//	                     probe_due_at
//	more         number  dependencies that did not fit, all of them closed if any
//	                     of those that are listed is
//	in_flight    object  numbers of messages: waiting, running, staying (their move
//	                     failed), suspects (must run alone), and of handlers that
//	                     are stuck
//
// # Compatibility
//
// Fields that are empty or zero are left out. Every version that was released
// decodes for ever; the files under testdata keep that. A writer of the same
// version may add fields, and readers ignore those that they do not know. A
// higher version is a [*VersionError].
package report
