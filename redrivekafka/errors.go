package redrivekafka

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/redrive-dev/redrive/broker"
)

// refusals are the answers of a broker that say for certain that a record was not
// stored.
var refusals = []error{ //nolint:gochecknoglobals // a table, never written to
	kerr.UnknownTopicOrPartition, kerr.UnknownTopicID, kerr.MessageTooLarge, kerr.RecordListTooLarge,
	kerr.TopicAuthorizationFailed, kerr.ClusterAuthorizationFailed, kerr.InvalidRecord,
	kerr.InvalidTopicException, kerr.InvalidRequiredAcks, kerr.InvalidTimestamp, kerr.UnsupportedForMessageFormat,
	kerr.PolicyViolation, kerr.SaslAuthenticationFailed, kgo.ErrMaxBuffered,
}

// produceError explains why a record was not confirmed. Whatever is not certain is
// ErrUnknown.
func produceError(r *kgo.Record, limit int, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, kerr.MessageTooLarge), errors.Is(err, kerr.RecordListTooLarge):
		size := recordSize(r)
		return fmt.Errorf("topic %s: %w", r.Topic, &broker.TooLargeError{Size: max(size, limit+1), Limit: limit})
	case errors.Is(err, kerr.UnknownTopicOrPartition), errors.Is(err, kerr.UnknownTopicID):
		return fmt.Errorf("topic %s does not exist: %w", r.Topic, broker.ErrUnroutable)
	}
	for _, certain := range refusals {
		if errors.Is(err, certain) {
			return fmt.Errorf("topic %s refuses the record: %w", r.Topic, err)
		}
	}
	return fmt.Errorf("topic %s: %w: %w", r.Topic, broker.ErrUnknown, err)
}

// transient says that a request can succeed later.
func transient(err error) bool {
	if k, ok := errors.AsType[*kerr.Error](err); ok {
		return k.Retriable || errors.Is(err, kerr.RebalanceInProgress)
	}
	return !errors.Is(err, kgo.ErrClientClosed)
}

// memberLost says that the group does not know this member any more.
func memberLost(err error) bool {
	return errors.Is(err, kerr.UnknownMemberID) || errors.Is(err, kerr.IllegalGeneration) ||
		errors.Is(err, kerr.FencedInstanceID) || errors.Is(err, kerr.StaleMemberEpoch)
}

// contextError is the reason why a context ended, nil while it has not.
func contextError(ctx context.Context) error {
	if ctx.Err() == nil {
		return nil
	}
	return context.Cause(ctx)
}
