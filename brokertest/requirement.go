package brokertest

import (
	"regexp"
	"slices"
)

// Requirement is something that every adapter has to do, whatever its broker.
type Requirement struct {
	// ID is short and stable: "C" and a number, or words with hyphens.
	ID string
	// Text says what is required, in one sentence.
	Text string
}

// Requirements lists what adapters have to do, in a fixed order. The cases of the
// suites are the evidence; the adapter guide shows which ones.
func Requirements() []Requirement {
	return []Requirement{
		{"C1", "success settles a message once"},
		{"C2", "a retryable failure comes back, never early, with its attempts counted"},
		{"C3", "a retry survives a kill of the broker in its delay"},
		{"C4", "a message survives a kill of the client at each step of a move; copies that a crash makes twice are recognised"},
		{"C5", "an exhausted message is dead-lettered with body, key and headers byte for byte, and with its history"},
		{"C6", "while the dead-letter queue is away, full or missing the original stays, with pauses and an alert"},
		{"C7", "history that is too large gives way, and the message does not"},
		{"C8", "a message that kills its process is quarantined, and its neighbours succeed"},
		{"C9", "a message that dies again after a replay is kept, inside any dedupe window too"},
		{"C10", "looking changes neither depth nor order nor a later delivery"},
		{"C11", "removing one letter takes exactly that one, and again is no error"},
		{"C12", "a replay takes what was chosen, survives a kill at every step, and repeated does nothing more"},
		{"C13", "depth and age are true, and reading them has no effect"},
		{"C14", "where order is promised, no later message of a key overtakes one that is retried"},
		{"C15", "settings on which a message could be lost are found and refused"},
		{"C16", "a stop under load leaves nothing settled that was not handled, and nothing handled that is not settled"},
		{"C17", "a restart of the broker in the middle of work: clients connect again and every count is right"},
		{"confirmed-or-error", "a publication is confirmed or an error, and never neither"},
		{"unroutable-refused", "a message for a queue that does not exist is refused, and never confirmed and dropped"},
		{"lost-confirmation", "a confirmation that does not come is an unknown outcome, whether the write took effect or not, and a repeat makes one message"},
		{"settle-failure", "a settlement that fails leaves the message where it was, and can be repeated"},
		{"connection-loss", "a connection lost at any step and in any direction loses nothing, and work goes on by itself"},
		{"broker-killed", "a broker killed and started again under load loses nothing that it confirmed"},
		{"exclusive-lease", "two consumers never hold one message while its lease is valid"},
		{"pause-keeps-membership", "a paused consumer keeps its place in the group and what it holds"},
		{"hostile-headers", "a producer's headers that steer a broker have no effect on a copy"},
		{"any-content", "any body from nothing to the broker's limit less 16 KiB, any bytes, a hundred headers: all come through byte for byte"},
		{"never-early", "nothing is delivered before it is due"},
		{"true-stats", "depth and oldest age equal a count by hand after any operations"},
		{"bounded-memory", "a worker stays below 200 MiB before any backlog"},
		{"clean-stop", "a worker that is stopped under load leaves no duplicate"},
	}
}

var numbered = regexp.MustCompile(`^C\d+-`)

// Requirements lists the IDs of what the case is evidence for.
func (c Case) Requirements() []string {
	ids := slices.Clone(c.Proves)
	if n := numbered.FindString(c.Name); n != "" {
		ids = append([]string{n[:len(n)-1]}, ids...)
	}
	return ids
}
