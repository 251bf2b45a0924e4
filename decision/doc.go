// Package decision holds the rules by which every message ends in one place.
//
// [Decide] is a pure function: from a policy, what happened, what is known of
// the message and of its neighbours, the time and a source of randomness, it
// makes one [Verdict]. Its rules are a table, read in order, and the first row
// that matches wins. The rows are listed by [Table] and explained in
// docs/state_machine.md; a test shows that every input meets a row, and that no
// verdict names two places or none.
//
// Two rules shape the table. An outage is not poison: while it cannot be told
// whether the message or its downstream is at fault, a failure costs no attempt
// and the message waits. And a message is never given up because something else
// is missing: when the dead-letter queue cannot be written, the message stays.
package decision
