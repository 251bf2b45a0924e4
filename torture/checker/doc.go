// Package checker decides whether messages were lost, made up, doubled, altered
// or put where they do not belong, from what was written down while processes
// were being killed.
//
// It knows nothing of redrive: its input is a [History], made of what producers
// wrote down before and after they published, what workers wrote down around
// every handler call, and what lies in the queues at the end. [Check] does set
// accounting in time linear in the size of that, without I/O, clock or
// randomness, so that a verdict can be made again from the files.
//
// # The laws
//
// Every publication that the broker confirmed has had its effect or is in a
// queue (lost), and everything that was seen was published, byte for byte
// (unexpected, mutated). A message does not take effect and also become a letter
// (both), and no letter is there twice (duplicate letters). A message that
// succeeds is a letter only if the rule against crash loops had reason to blame
// it (outage, innocent). Letters are there for the reason that their script
// gives (misfiled) and carry their whole history (history). The idempotency key
// of a message never changes (key). Attempts stay within the policy (attempts).
//
// # What kills excuse
//
// Moves are at-least-once: a run whose end nobody could confirm comes again. Each
// message therefore has a number of disturbances: runs that were started and not
// settled, deliveries that the broker made again, leases that were lost. They
// excuse as many further runs, effects or copies of this message, and nothing
// else. A second letter is never excused: whatever way the copies of a message went,
// their letter has one publish id. A message without a disturbance has exactly one
// effect or one letter. A loss is never excused.
//
// A broker that is killed may forget a settlement that it confirmed, since it keeps
// them in memory for a moment. A message that comes back for this reason alone
// counts as forgotten, of which each kill of the broker excuses as many as a worker
// holds. A publication that ended unknown and was tried again may be stored twice.
//
// Under an inbox no message has two effects, and nothing excuses one.
//
// What is not known is never counted as lost: a publication whose confirmation
// did not come may or may not be there. And a run that did not drain is not a
// passed one: its verdict is "unknown" at best.
package checker
