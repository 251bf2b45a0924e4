package idempotency

// RetryPublishID returns the publish id of the move of one stored message to the
// retry queue of one consumer group, "rt:<incarnation>:<group>", escaped as in
// DeadPublishID. It is never a broker's dedupe id: a retry that has fired would
// look like one that is still stored.
func RetryPublishID(incarnation, group string) string {
	return "rt:" + escape(incarnation, "") + ":" + escape(group, ":")
}
