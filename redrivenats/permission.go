package redrivenats

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// PermissionError says that the server does not let this user do something.
type PermissionError struct {
	// Operation is "publish" or "subscribe".
	Operation string
	// Subject is what the permission is missing for.
	Subject string
}

// Error implements error.
func (e *PermissionError) Error() string {
	return fmt.Sprintf("the server does not let this user %s to %q: grant it, the NATS guide lists all that redrive needs", e.Operation, e.Subject)
}

// The server says this on the connection and not to the request that it refuses:
// that one gets no answer.
var violation = regexp.MustCompile(`(?i)permissions violation for (publish|subscription) to "([^"]+)"`)

// denied returns what the server last refused on the connection, if it is one of
// these subjects. A "*" at the end of one stands for anything.
func (r *requests) denied(subjects ...string) *PermissionError {
	err := r.nc.LastError()
	if !errors.Is(err, nats.ErrPermissionViolation) {
		return nil
	}
	found := violation.FindStringSubmatch(err.Error())
	if found == nil {
		return nil
	}
	// Any inbox of the connection: the library has its own.
	inbox := strings.TrimSuffix(r.prefix, ".")
	inbox = inbox[:strings.LastIndexByte(inbox, '.')+1]
	for _, subject := range append(subjects, inbox+"*") {
		head, prefix := strings.CutSuffix(subject, "*")
		if found[2] == subject || prefix && strings.HasPrefix(found[2], head) {
			operation := "publish"
			if strings.EqualFold(found[1], "subscription") {
				operation = "subscribe"
			}
			return &PermissionError{Operation: operation, Subject: found[2]}
		}
	}
	return nil
}

// checkPermissions tries everything that a subscription will publish to, in a way
// that stores and takes nothing: what is refused only when the first message fails
// would be found out too late. The stream that a probe expects does not exist.
func (b *Broker) checkPermissions(ctx context.Context, s *subscription) error {
	l := b.layout
	retry := l.scheduleSubject(s.names.Retry, "probe")
	if b.naks.Load() {
		retry = l.retrySubject(s.names.Retry)
	}
	var probes []*nats.Msg
	for _, subject := range []string{retry, l.dlqSubject(s.names.DeadLetter), l.markSubject("probe")} {
		probes = append(probes, &nats.Msg{Subject: subject, Header: nats.Header{jetstream.ExpectedStreamHeader: []string{l.prefix + "_probe"}}})
	}
	for _, lane := range s.lanes {
		// A pull request that cannot be read is refused.
		probes = append(probes, &nats.Msg{Subject: lane.next, Data: []byte("{")})
	}
	var errs []error
	for _, m := range probes {
		q, err := b.req.send(m)
		if err != nil {
			break // The connection is lost: nothing can be found out now.
		}
		_, err = q.wait(ctx, 2*slowAnswer)
		errs = append(errs, onlyPermission(err))
		if errors.Is(err, errTimeout) {
			break // The server is slow, and a missing permission shows later.
		}
	}
	return errors.Join(errs...)
}

// onlyPermission passes over every error but a missing permission: a probe is
// always refused.
func onlyPermission(err error) error {
	if missing := (*PermissionError)(nil); errors.As(err, &missing) {
		return missing
	}
	return nil
}
