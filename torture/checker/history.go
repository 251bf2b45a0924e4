package checker

// History is everything that was written down about one run.
type History struct {
	// Publications are the books of all producers.
	Publications map[ID]Publication
	// Journals are the records of each worker process, in the order in which they
	// were written.
	Journals [][]Record
	// Letters is what lies in the queues at the end.
	Letters []Letter
	// Drained says that the source and the retry queue were seen empty after the
	// last publication.
	Drained bool
	// Kills is the number of workers that were killed, and InFlight how many
	// messages one can have had.
	Kills, InFlight int
	// ServerKills is the number of times that the broker was killed. Each can have
	// taken back deliveries of every worker.
	ServerKills int
	// Forgets says that a worker which is killed can take with it settlements that were
	// confirmed to it: the broker learns of them a moment later. Each kill can then
	// bring back what its worker had settled, as a kill of the broker can.
	Forgets bool
	// KeepsRepeats says that the broker stores what is published again under the same
	// id. A move that was made again then makes a second letter.
	KeepsRepeats bool
	// Uncounted says that nobody reckons with the deliveries that nothing explains: the
	// broker keeps no notes, does not count exactly, or was away and counts every connection that broke
	// meanwhile.
	Uncounted bool
	// PowerCuts is the number of times that the broker's machine lost power. Then it
	// may forget any settlement that it did not have to synchronise; publications that
	// it confirmed it may not.
	PowerCuts int
	// Inbox says that every effect was committed with an inbox, so that none is made
	// twice, whatever happened.
	Inbox bool
	// Others are the journals of other consumer groups that read the same messages.
	// Nothing is asked of them but that they saw the same keys.
	Others [][]Record
	// MaxAttempts is the policy's number of attempts, and CrashThreshold its number
	// of runs alone before a message counts as a killer.
	MaxAttempts, CrashThreshold int
	// OutageCategory is the category of failures in an outage. A message that fails
	// every time can have its last attempt in one, and is then filed under it.
	OutageCategory string
	// Fate says what the script has in store for a message. It is asked only about
	// messages that were published.
	Fate func(ID) Fate
}

// Fate is where a message has to end.
type Fate struct {
	// Fails says that it becomes a letter. Otherwise it has its effect.
	Fails bool
	// Category is that of the letter.
	Category string
	// Attempts says that it becomes a letter by using up its attempts.
	Attempts bool
}

// Place is where a message lies at the end.
type Place uint8

// The places.
const (
	// Pending: in the source or the retry queue.
	Pending Place = iota + 1
	DeadLettered
	Quarantined
	// Expired: in a dead-letter queue because it outlived its time.
	Expired
)

// Letter is one message that lies in a queue at the end.
type Letter struct {
	// ID is what the message says, and Readable that it says something.
	ID       ID
	Readable bool
	Place    Place
	// Queue names the queue, for people.
	Queue  string
	Digest Digest
	// Key is the KeySum of the idempotency key in its envelope, 0 without one.
	Key uint32
	// Reason and Category are those of the envelope.
	Reason, Category string
	// CrashLoop says that the reason is that the message killed its process.
	CrashLoop bool
	// Count is the number of attempts that the envelope states, Listed the number
	// of counted attempts in its list, and Trimmed that the list was cut.
	Count, Listed int
	Trimmed       bool
}
