package admin

// families are all metrics that there are, in the order in which they are
// written.
type families struct {
	build, brokerUp, workerUp             *family
	attempts, retried, dead, quarantined  *family
	duplicates, released, problems        *family
	circuit, openings, inFlight, suspects *family
}

const (
	counter = "counter"
	gauge   = "gauge"
)

func newFamilies() *families {
	return &families{
		build:       &family{name: "redrive_build_info", kind: gauge, help: "Always 1; the labels describe the running binary."},
		brokerUp:    &family{name: "redrive_broker_up", kind: gauge, help: "1 if the broker answered when it was last asked."},
		workerUp:    &family{name: "redrive_worker_up", kind: gauge, help: "1 while the worker takes messages. An open breaker counts as work."},
		attempts:    &family{name: "redrive_handler_attempts_total", kind: counter, help: "Runs of the handler by outcome: handled, or the category of the failure."},
		retried:     &family{name: "redrive_retried_total", kind: counter, help: "Confirmed moves to the retry queue."},
		dead:        &family{name: "redrive_dead_lettered_total", kind: counter, help: "Confirmed moves to the dead-letter queue."},
		quarantined: &family{name: "redrive_quarantined_total", kind: counter, help: "Confirmed moves to a quarantine."},
		duplicates:  &family{name: "redrive_duplicates_total", kind: counter, help: "Messages that the inbox knew as handled."},
		released:    &family{name: "redrive_released_total", kind: counter, help: "Messages given back without costing an attempt."},
		problems:    &family{name: "redrive_problems_total", kind: counter, help: "What the worker overcame or still tries, by kind."},
		circuit:     &family{name: "redrive_circuit_state", kind: gauge, help: "1 for the state of the circuit breaker, 0 for the others."},
		openings:    &family{name: "redrive_circuit_openings_total", kind: counter, help: "How often the circuit breaker opened."},
		inFlight:    &family{name: "redrive_messages_in_flight", kind: gauge, help: "Messages that the worker has taken and not settled. Staying: their move failed and is tried again. Stuck: their handler did not return."},
		suspects:    &family{name: "redrive_suspects", kind: gauge, help: "Messages that may have killed the process and must run alone."},
	}
}

func (f *families) all() []*family {
	return []*family{
		f.build, f.brokerUp, f.workerUp,
		f.attempts, f.retried, f.dead, f.quarantined, f.duplicates, f.released, f.problems,
		f.circuit, f.openings, f.inFlight, f.suspects,
	}
}
