// Package poison tells a message that harms its consumer from one that is only
// unlucky.
//
// Two kinds of poison exist. A message can fail again and again while nearly
// everything else succeeds: then it is the message, and not what the handler
// calls. And a message can kill the process that handles it, so that nobody is
// left to record a failure: only the broker's count of deliveries shows it. A
// delivery that neither a failure nor a release explains makes a message a
// suspect. A suspect is run alone, so that its neighbours are not blamed, and
// after a number of starts that never returned it is quarantined.
//
// Everything here is a pure function of what travels with the message and what
// the broker counts: a restart forgets nothing.
package poison
