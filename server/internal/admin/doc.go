// Package admin is what operators and their tools ask a running redrive: is the
// process alive, does it work, and what did it do.
//
//	/healthz  200 as long as the process answers
//	/readyz   200 when every check passes, else 503 and a line for each that fails
//	/metrics  Prometheus text format
//
// There is no authentication, so the address is a loopback one unless somebody
// chose another. Nothing here shows a payload, a header or an error text of a
// message.
//
// # Metrics
//
// Every metric about messages has the labels broker, source and group.
//
//	redrive_handler_attempts_total   outcome      runs of the handler: handled, or the category of the failure
//	redrive_retried_total                         moves to the retry queue
//	redrive_dead_lettered_total      category, reason   moves to the dead-letter queue
//	redrive_quarantined_total        category, reason   moves to a quarantine
//	redrive_duplicates_total                      messages that the inbox knew as done
//	redrive_released_total                        messages given back without costing an attempt
//	redrive_problems_total           kind         what the worker overcame or still tries: move_failed, timeout, ...
//	redrive_circuit_state            state        1 for the state of the breaker, 0 for the others
//	redrive_circuit_openings_total                how often the breaker opened
//	redrive_messages_in_flight       state        messages that the worker has: waiting, running, staying, stuck
//	redrive_suspects                              messages that must run alone
//	redrive_worker_up                             1 while the worker takes messages
//	redrive_broker_up                             1 if the broker answered when it was last asked; label broker only
//	redrive_build_info               version, commit, go_version   always 1
//
// Counters begin at zero with the process.
package admin
