package app

import (
	"errors"
	"fmt"
	"strings"
)

// BrokerError says that a broker cannot be used.
type BrokerError struct {
	// Broker is its name in the configuration.
	Broker string
	// Err is what is wrong. It holds no secret.
	Err error
	// Remedy says what to do, in one sentence without a full stop.
	Remedy string
}

// Error implements error.
func (e *BrokerError) Error() string { return "broker " + e.Broker + ": " + e.Err.Error() }

// Unwrap returns Err.
func (e *BrokerError) Unwrap() error { return e.Err }

// Hint returns Remedy.
func (e *BrokerError) Hint() string { return e.Remedy }

// BrokersError says that several brokers cannot be used.
type BrokersError struct {
	// Brokers has one entry for each, sorted by name.
	Brokers []*BrokerError
}

// Error implements error, with one line for each broker.
func (e *BrokersError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d brokers cannot be used:", len(e.Brokers))
	for _, one := range e.Brokers {
		b.WriteString("\n  " + one.Error())
	}
	return b.String()
}

// Unwrap returns the errors of the brokers.
func (e *BrokersError) Unwrap() []error {
	out := make([]error, len(e.Brokers))
	for i, one := range e.Brokers {
		out[i] = one
	}
	return out
}

// Hint returns what to do about each.
func (e *BrokersError) Hint() string {
	remedies := make([]string, 0, len(e.Brokers))
	for _, one := range e.Brokers {
		if one.Remedy != "" {
			remedies = append(remedies, one.Broker+": "+one.Remedy)
		}
	}
	return strings.Join(remedies, "; ")
}

// brokersError makes one error of those of several brokers, in their order; nil
// for none.
func brokersError(errs []error) error {
	var brokers []*BrokerError
	var others []error
	for _, err := range errs {
		var one *BrokerError
		switch {
		case err == nil:
		case errors.As(err, &one):
			brokers = append(brokers, one)
		default:
			others = append(others, err)
		}
	}
	var err error
	switch len(brokers) {
	case 0:
	case 1:
		err = brokers[0]
	default:
		err = &BrokersError{brokers}
	}
	return errors.Join(append([]error{err}, others...)...)
}
